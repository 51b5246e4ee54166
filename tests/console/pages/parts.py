"""Values for pages that a test renders by itself."""

from __future__ import annotations

from typing import Any

from middlewares.errors import Problem


def problem_values(message: str) -> dict[str, Any]:
    """What the page of an error shows."""
    problem = Problem(404, "not_found_error", "not_found", message)
    return {"visitor": None, "news": (), "problem": problem, "request_id": "req_1"}
