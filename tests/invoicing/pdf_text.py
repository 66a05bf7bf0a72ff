"""What a PDF says, read from its own drawing instructions: no other program is needed."""

import re
from io import BytesIO

import pikepdf


def pages(made):
    """The text of each page, in the order in which it was drawn, on one line."""
    with pikepdf.open(BytesIO(made)) as document:
        return [_page(page) for page in document.pages]


def text(made):
    return " ".join(pages(made))


def heights_of(made, letter):
    """The heights on the first page at which a letter is drawn: as many as its word has lines."""
    with pikepdf.open(BytesIO(made)) as document:
        page = document.pages[0]
        fonts, heights, kept, height, letters = _fonts(page), set(), [], (1, 0), {}
        for operands, operator in pikepdf.parse_content_stream(page):
            match str(operator):
                case "q":
                    kept.append(height)
                case "Q":
                    height = kept.pop()
                case "cm":
                    scale, offset = height
                    height = (scale * float(operands[3]), offset + scale * float(operands[5]))
                case "Tf":
                    letters = fonts[str(operands[0])]
                case "Tj" | "TJ":
                    if letter in "".join(_read(each, letters) for each in _strings(operands[0])):
                        heights.add(round(height[1], 1))
        return heights


def _fonts(page):
    return {name: _letters(font) for name, font in page.Resources.get("/Font", {}).items()}


def _strings(operand):
    return [each for each in (operand if isinstance(operand, pikepdf.Array) else [operand]) if _is_text(each)]


def _is_text(operand):
    return isinstance(operand, pikepdf.String)


def _page(page):
    fonts = _fonts(page)
    drawn, letters = [], {}
    for operands, operator in pikepdf.parse_content_stream(page):
        match str(operator):
            case "Tf":
                letters = fonts[str(operands[0])]
            case "Tj" | "TJ":
                drawn.extend(_read(each, letters) for each in _strings(operands[0]))
            case "BT":
                drawn.append(" ")
    return " ".join("".join(drawn).split())


def _read(string, letters):
    codes = bytes(string)
    return "".join(letters.get(codes[at : at + 2], "\N{REPLACEMENT CHARACTER}") for at in range(0, len(codes), 2))


def _letters(font):
    """The texts that a font's codes stand for, by its ToUnicode map."""
    found = {}
    source = font.ToUnicode.read_bytes().decode("latin-1")
    for block in re.findall(r"beginbfchar(.*?)endbfchar", source, re.DOTALL):
        for code, letter in re.findall(r"<(\w+)>\s*<(\w+)>", block):
            found[bytes.fromhex(code)] = bytes.fromhex(letter).decode("utf-16-be")
    for block in re.findall(r"beginbfrange(.*?)endbfrange", source, re.DOTALL):
        for first, last, letter in re.findall(r"<(\w+)>\s*<(\w+)>\s*<(\w+)>", block):
            for step in range(int(last, 16) - int(first, 16) + 1):
                code, value = int(first, 16) + step, int(letter, 16) + step
                found[code.to_bytes(2)] = value.to_bytes(len(letter) // 2).decode("utf-16-be")
    return found
