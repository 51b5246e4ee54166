"""What the commands about prices answer can be read by programs and by people, and is never without end."""

from __future__ import annotations

from collections import Counter

from proxy.price_answers import LONGEST_LIST, changes_as_text, recosting_as_json, rerating_as_json, rerating_as_text
from storage.recosting import Recosted, Recosting
from storage.rerating import GIVEN_BACK, NOT_RATED, UNCHANGED, Correction


def test_only_so_many_calls_are_named_and_all_are_counted() -> None:
    """Unchanged ones are only looked at."""
    many = [Correction(f"r{number}", "a", GIVEN_BACK, -2, "v") for number in range(LONGEST_LIST + 5)]
    answer = rerating_as_json([*many, Correction("u", "a", UNCHANGED)])

    assert (LONGEST_LIST + 6, LONGEST_LIST, True) == (answer["looked_at"], len(answer["calls"]), answer["truncated"])
    assert {"calls": LONGEST_LIST + 5, "difference": "-0.0000201"} == answer[GIVEN_BACK]


def test_a_rerating_for_reading_names_reason_and_sum() -> None:
    """And says when nothing was written."""
    answer = rerating_as_json([Correction("r1", "a", NOT_RATED, sentence="it is old")])
    lines = rerating_as_text({**answer, "dry_run": True}).splitlines()

    assert "it is old" in lines[0]
    assert ["not_rated: 1 calls, 0 USD", "1 calls looked at, nothing was written"] == lines[1:]


def test_recosted_calls_have_a_total() -> None:
    """With the difference, and with what was left out."""
    answer = recosting_as_json(Recosting({"m": Recosted(2, 100, 150), "a": Recosted(1, 10, 5)}, Counter({"old": 3})))

    assert ["a", "m"] == [row["model"] for row in answer["models"]]
    assert {"calls": 3, "cost": "0.0000011", "new_cost": "0.00000155", "difference": "0.00000045"} == answer["total"]
    assert [{"reason": "old", "calls": 3}] == answer["left_out"]


def test_no_change_is_said() -> None:
    """Not with silence."""
    nothing = {"models_added": [], "models_removed": [], "upstreams_added": [], "upstreams_removed": []}

    assert "no price changes" == changes_as_text({**nothing, "upstreams_changed": []})
