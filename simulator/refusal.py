"""How a provider says no: one refusal, in words any vendor's file can put into its own shape.

Every vendor has a refusal under each of the `NAMES`, so that a fault can be ordered without knowing the vendor.
"""

from dataclasses import dataclass

NAMES = (
    "bad_request",
    "bad_key",
    "no_key",
    "no_balance",
    "permission",
    "model_not_found",
    "context_length",
    "content_filter",
    "rate_limited",
    "overloaded",
    "quota_exhausted",
    "server_error",
    "unavailable",
)

NAME_OF_STATUS = {
    400: "bad_request",
    401: "bad_key",
    402: "no_balance",
    403: "permission",
    404: "model_not_found",
    422: "bad_request",
    429: "rate_limited",
    451: "content_filter",
    500: "server_error",
    503: "unavailable",
}
"""What a bare HTTP status most likely means."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal: the HTTP status, the message, and what of `type` and `code` the vendor puts beside it.

    `page` replaces the vendor's JSON where its edge answers in HTML or plain text; `content_type` then belongs to the
    page, and an empty one means the header is not sent at all.
    """

    status: int
    message: str
    type: str = ""
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    page: str = ""
    content_type: str = "application/json"


def gateway_page(status: int) -> Refusal:
    """The HTML page a vendor's edge (nginx) shows when nothing behind it answers."""
    reason = {502: "Bad Gateway", 504: "Gateway Time-out"}.get(status, "Error")
    page = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>"
        "\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Refusal(status, reason, page=page, content_type="text/html")
