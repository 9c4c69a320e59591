"""How large a picture may be; known before it is decoded, whatever decodes it."""

from tasks.errors import InvalidInput, TooLarge

MAX_PIXELS = 50_000_000


def check_size(width: int, height: int) -> None:
    """Errors: TooLarge past MAX_PIXELS, InvalidInput without a pixel."""
    if width * height > MAX_PIXELS:
        raise TooLarge(f"the picture has {width} x {height} = {width * height:,} pixels; the limit is {MAX_PIXELS:,}")
    if width * height == 0:
        raise InvalidInput(f"the picture has no pixels: it is {width} x {height}")
