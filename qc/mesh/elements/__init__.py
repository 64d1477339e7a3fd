"""Finite elements on simplices, each in a file of its own."""

from __future__ import annotations

from qc.errors import InputError
from qc.mesh.elements import p1, p2
from qc.mesh.elements.element import Element

#: The elements by their order.
ELEMENTS: dict[int, Element] = {module.ELEMENT.order: module.ELEMENT for module in (p1, p2)}


def get_element(element: int | Element) -> Element:
    """Return an element by its order; an `Element` passes through.

    Raises
    ------
    InputError
        No element of that order.
    """
    if isinstance(element, Element):
        return element
    if isinstance(element, bool) or element not in ELEMENTS:
        raise InputError(
            f"no elements of order {element!r}; there are {', '.join(map(str, ELEMENTS))}, and "
            "qc.mesh.Element for one of your own"
        )
    return ELEMENTS[element]


__all__ = ["ELEMENTS", "Element", "get_element"]
