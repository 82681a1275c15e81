"""Times at which a job runs: cron's five fields, and the same as systemd writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchscan.errors import UsageError

_FIELDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day of month": (1, 31),
    "month": (1, 12),
    "day of week": (0, 7),
}
_PART = re.compile(r"(\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?")
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True)
class Schedule:
    """Five fields as in a crontab: numbers, `*`, lists, ranges and steps; no names, no `@daily`.

    Raises `UsageError` for anything else: schedulers differ in what they make of it.
    """

    text: str

    def __post_init__(self) -> None:
        found = self.text.split()
        if len(found) != len(_FIELDS):
            raise UsageError(
                f"--schedule {self.text!r}: expected five fields as in '0 2 * * *' (minute, hour, "
                f"day of month, month, day of week), found {len(found)}"
            )
        for field, (name, (low, high)) in zip(found, _FIELDS.items(), strict=True):
            if not all(_is_valid(part, low, high) for part in field.split(",")):
                raise UsageError(
                    f"--schedule {self.text!r}: expected the {name} as numbers from {low} to "
                    f"{high} (such as {low}, {low}-{high}, */2 or *), found {field!r}"
                )

    def as_calendar(self) -> str:
        """Return systemd's calendar event (systemd.time(7)) of the same times.

        Raises `UsageError` where both days are restricted: cron runs on either, systemd on both.
        """
        minute, hour, day, month, weekday = self.text.split()
        if not day.startswith("*") and not weekday.startswith("*"):
            raise UsageError(
                f"--schedule {self.text!r}: cron takes a day of the month *or* a day of the week, "
                "systemd takes both together; restrict one of them"
            )
        days = _weekdays(weekday)
        date = f"*-{_steps(month, 1)}-{_steps(day, 1)}"
        return f"{days}{date} {_steps(hour, 0)}:{_steps(minute, 0)}:00"


def _is_valid(part: str, low: int, high: int) -> bool:
    match = _PART.fullmatch(part)
    if match is None or match[4] == "0" or (match[4] and match[1] != "*" and not match[3]):
        return False
    numbers = [int(number) for number in (match[2], match[3]) if number]
    return numbers == sorted(numbers) and all(low <= number <= high for number in numbers)


def _steps(field: str, low: int) -> str:
    """Write a field of numbers as systemd does."""
    if "*" in field.split(","):
        return "*"
    parts = (_PART.fullmatch(part) for part in field.split(","))
    return ",".join(_step(match, low) for match in parts if match)


def _step(match: re.Match[str], low: int) -> str:
    start = f"{low:02d}" if match[1] == "*" else f"{int(match[2]):02d}"
    if match[1] == "*" and not match[4]:
        return "*"
    span = f"{start}..{int(match[3]):02d}" if match[3] else start
    return f"{span}/{match[4]}" if match[4] else span


def _weekdays(field: str) -> str:
    """Name the days of the week; systemd has no steps of them, so each is named."""
    if "*" in field.split(","):
        return ""
    numbers: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        assert match is not None
        first, last = (0, 6) if match[1] == "*" else (int(match[2]), int(match[3] or match[2]))
        numbers |= {number % 7 for number in range(first, last + 1, int(match[4] or 1))}
    return ",".join(_DAYS[number] for number in sorted(numbers)) + " "
