def square(
    pixels: bytes,
    sides: tuple[int, int],
    box: tuple[float, float, float, float],
    size: int,
    /,
) -> bytes: ...
