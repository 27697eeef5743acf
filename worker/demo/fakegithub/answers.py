"""What the API answers with: a status, JSON, and headers; and lists in pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlencode

ItemT = TypeVar("ItemT")
Who: TypeAlias = int | Literal["jwt"] | None
"""Who asks: an installation by its id, the App itself, or nobody that is known."""

PER_PAGE, MOST_PER_PAGE = 30, 100


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """Without the base path, as it was sent."""
    query: Mapping[str, str]
    authorization: str
    body: bytes
    base_url: str


@dataclass(frozen=True)
class ResponseRecord:
    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """An answer that ends the matter."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = ResponseRecord(status, {"message": message, "status": str(status)}, headers or {})


def missing() -> RefusalError:
    return RefusalError(404, "Not Found")


def forbidden() -> RefusalError:
    return RefusalError(403, "Resource not accessible by integration")


class PageRequest(NamedTuple):
    number: int
    size: int


def page_of(request: Request) -> PageRequest:
    """Nonsense counts as the default, and too much as the most."""
    number, size = request.query.get("page", ""), request.query.get("per_page", "")
    return PageRequest(
        max(1, int(number)) if number.isdecimal() else 1,
        min(MOST_PER_PAGE, int(size) or PER_PAGE) if size.isdecimal() else PER_PAGE,
    )


def paged(request: Request, items: Sequence[ItemT]) -> tuple[Sequence[ItemT], dict[str, str]]:
    """The part that was asked for, and the headers that link to the others."""
    number, size = page_of(request)
    last = max(1, -(-len(items) // size))
    links: dict[str, int] = {}
    if number > 1:
        links |= {"prev": min(number - 1, last), "first": 1}
    if number < last:
        links |= {"next": number + 1, "last": last}
    parts = [link(request, relation, {"per_page": size, "page": page}) for relation, page in links.items()]
    return items[(number - 1) * size : number * size], {"link": ", ".join(parts)} if parts else {}


def link(request: Request, relation: str, query: Mapping[str, str | int]) -> str:
    return f'<{request.base_url}{request.path}?{urlencode(query)}>; rel="{relation}"'
