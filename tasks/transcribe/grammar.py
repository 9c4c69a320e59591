"""What may be said, as a graph: a grammar in JSGF, or a list of words, to numbered states and arcs.

Knows the grammar format (JSpeech Grammar Format, W3C Note, 2000) and its limits; no dictionary, no sound. Read here
and not by PocketSphinx's own parser, which opens the files that a grammar imports, ends the process over some faults,
and names none. Left out: imports, and rules that refer to themselves (* and + say what they would); <VOID> and tags
are read, and a tag says nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.errors import InvalidInput

MAX_ARCS = 20_000  # of the whole graph; each use of a rule is a copy of it
MAX_DEPTH = 50  # brackets in brackets, rules in rules
TOKEN = re.compile(
    r"""\s+ | //[^\n]* | /\*.*?\*/                               # between tokens: space, comments
    | (?P<token> /\s*\d*\.?\d+\s*/ | <[^<>\s]+> | \{(?:\\.|[^{}\\])*\}       # a weight, a rule, a tag
    | "(?:[^"\\]|\\.)*" | [=;|*+()\[\]] | [^\s=;|*+<>()\[\]{}/"\\]+ )""",
    re.DOTALL | re.VERBOSE,
)
RULE = re.compile(r"<([^<>\s]+)>$")
WEIGHT = re.compile(r"/\s*(\d*\.?\d+)\s*/$")


@dataclass
class Graph:
    """Arcs (from, to, probability, word); a word of None costs no sound. One start (0) and one final state."""

    arcs: list[tuple[int, int, float, str | None]] = field(default_factory=list)
    states: int = 1
    final: int = 0

    def state(self) -> int:
        self.states += 1
        return self.states - 1

    def arc(self, start: int, end: int, probability: float = 1.0, word: str | None = None) -> None:
        self.arcs.append((start, end, probability, word))
        if len(self.arcs) > MAX_ARCS:
            raise InvalidInput(f"the grammar is too large: it has more than {MAX_ARCS} arcs once its rules are put in")

    def closed(self) -> "Graph":
        """The same, with an arc for every way that says nothing (the likeliest): PocketSphinx takes one at a time."""
        silent: dict[int, list[tuple[int, float]]] = {}
        for start, end, probability, word in self.arcs:
            if word is None:
                silent.setdefault(start, []).append((end, probability))
        made = Graph([arc for arc in self.arcs if arc[3] is not None], self.states, self.final)
        for start in silent:
            for end, probability in _reached(silent, start).items():
                made.arcs.append((start, end, probability, None))
            if len(made.arcs) > 10 * MAX_ARCS:
                raise InvalidInput("the grammar is too large: too many of its parts may be left out in a row")
        return made

    @property
    def words(self) -> set[str]:
        return {word for *_, word in self.arcs if word is not None}


def _reached(silent: dict[int, list[tuple[int, float]]], start: int) -> dict[int, float]:
    """Where one gets from a state without a word, and the probability of the likeliest way."""
    best, waiting = {start: 1.0}, [start]
    while waiting:
        here = waiting.pop()
        for end, probability in silent.get(here, ()):
            if best[here] * probability > best.get(end, 0.0):
                best[end] = best[here] * probability
                waiting.append(end)
    del best[start]
    return best


def of_words(words: Sequence[str]) -> Graph:
    """Any of the words, any number of times, one as likely as another. Words are lower-cased."""
    graph = Graph()
    wanted = sorted({word.strip().lower() for word in words})
    for word in wanted:
        graph.arc(0, 0, 1 / len(wanted), word)
    return graph


def of_jsgf(text: str) -> Graph:
    """What the public rules of a grammar say: a sentence of any of them. Errors: InvalidInput, with the line and what
    was met there; and where there is no sentence, or none with a word."""
    rules, public = _Reader(text).rules()
    starts: list[tuple] = [("rule", name) for name in public]
    start = starts[0] if len(starts) == 1 else ("one", [(1.0, one) for one in starts])
    graph = Graph()
    graph.final = _build(graph, rules, start, 0, ())
    _check_says_something(graph)
    return graph


def _check_says_something(graph: Graph) -> None:
    """That some way from the start to the final state has a word."""
    behind, before = _connected(graph, 0, False), _connected(graph, graph.final, True)
    if graph.final not in behind:
        raise InvalidInput("the grammar has no sentence, for every way through it meets <VOID>; write what may be said")
    if not any(word is not None and start in behind and end in before for start, end, _, word in graph.arcs):
        raise InvalidInput("the only sentence of the grammar has no word; write the words that may be said")


def _connected(graph: Graph, start: int, backwards: bool) -> set[int]:
    """States to which arcs lead from `start`, or from which they lead to it."""
    ways: dict[int, list[int]] = {}
    for one, other, *_ in graph.arcs:
        here, there = (other, one) if backwards else (one, other)
        ways.setdefault(here, []).append(there)
    found, waiting = {start}, [start]
    while waiting:
        fresh = set(ways.get(waiting.pop(), ())) - found
        found |= fresh
        waiting.extend(fresh)
    return found


# A rule is read into nested tuples: ("word", text), ("rule", name), ("all", parts), ("one", [(weight, part)]),
# ("maybe", part), ("any", part), ("some", part).


class _Reader:
    """A recursive descent over the tokens; every method reads one thing of the format."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, int]] = []  # each with its line
        self.at = self.depth = 0
        text, place, line = text.removeprefix("\ufeff"), 0, 1
        while place < len(text):
            found = TOKEN.match(text, place)
            if not found:
                raise InvalidInput(f"the grammar cannot be read at line {line}: {text[place : place + 20]!r}")
            if found["token"]:
                self.tokens.append((found["token"], line))
            line += text.count("\n", place, found.end())
            place = found.end()

    def rules(self) -> tuple[dict[str, tuple], list[str]]:
        """All rules by name, and the names of the public ones."""
        if self.tokens and (self._peek() or "").startswith("#JSGF"):
            self._until(";")
        if self._peek() == "grammar":
            self._until(";")
        found: dict[str, tuple] = {}
        starts = []
        while self._peek() is not None:
            if self._peek() == "import":
                raise self._wrong("an import is not accepted: write the rules that are needed into the grammar")
            public = self._take_if("public")
            name = self._rule_name()
            if name in found:
                raise self._wrong(f"the rule <{name}> is there twice")
            if name in ("NULL", "VOID"):
                raise self._wrong(f"<{name}> is a rule of JSGF itself: give yours another name")
            self._take("=")
            found[name] = self._alternatives()
            self._take(";")
            starts += [name] if public else []
        if not starts:
            raise InvalidInput("the grammar has no public rule: write 'public <name> = ...;'")
        return found, starts

    def _alternatives(self) -> tuple:
        choices = [(self._weight(), self._sequence())]
        while self._take_if("|"):
            choices.append((self._weight(), self._sequence()))
        return choices[0][1] if len(choices) == 1 else ("one", choices)

    def _weight(self) -> float:
        found = WEIGHT.match(self._peek() or "")
        if not found:
            return 1.0
        self.at += 1
        if float(found[1]) <= 0:
            raise self._wrong("a weight must be more than 0")
        return float(found[1])

    def _sequence(self) -> tuple:
        parts = []
        while (token := self._peek()) is not None and token not in ("|", ";", ")", "]", "="):
            if token.startswith("{"):
                self.at += 1
            else:
                parts.append(self._repeated())
        if not parts:
            raise self._wrong(f"words or a rule were expected, not {self._peek() or 'the end'!r}")
        return parts[0] if len(parts) == 1 else ("all", parts)

    def _repeated(self) -> tuple:
        part = self._single()
        if self._peek() in ("*", "+"):
            part = ("any" if self._next() == "*" else "some", part)
        return part

    def _single(self) -> tuple:
        token = self._next()
        if token in ("(", "["):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self._wrong(f"more than {MAX_DEPTH} brackets in one another")
            part = self._alternatives()
            self._take(")" if token == "(" else "]")
            self.depth -= 1
            return part if token == "(" else ("maybe", part)
        if found := RULE.match(token):
            return ("rule", found[1])
        if token in ("*", "+") or WEIGHT.match(token):
            raise self._wrong(f"{token!r} stands where words or a rule were expected")
        words = re.sub(r"\\(.)", r"\1", token[1:-1]).split() if token.startswith('"') else [token]
        return ("all", [("word", word.lower()) for word in words])

    def _rule_name(self) -> str:
        found = RULE.match(self._peek() or "")
        if not found:
            raise self._wrong(f"a rule was expected ('<name> = ...;'), not {self._peek() or 'the end'!r}")
        self.at += 1
        return found[1]

    def _until(self, last: str) -> None:
        while self._next() != last:
            pass

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._wrong(f"{wanted!r} was expected, not {self._peek() or 'the end'!r}")
        self.at += 1

    def _take_if(self, wanted: str) -> bool:
        self.at += (there := self._peek() == wanted)
        return there

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            raise self._wrong("it ends in the middle of a rule")
        self.at += 1
        return token

    def _peek(self) -> str | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def _wrong(self, what: str) -> InvalidInput:
        line = self.tokens[min(self.at, len(self.tokens) - 1)][1] if self.tokens else 1
        return InvalidInput(f"the grammar is wrong at line {line}: {what}")


def _build(graph: Graph, rules: dict[str, tuple], part: tuple, start: int, inside: tuple[str, ...]) -> int:
    """Put a part behind a state; the state in which it ends. `inside`: the rules that are being put in."""
    what, of = part
    if what == "word":
        end = graph.state()
        graph.arc(start, end, 1.0, of)
        return end
    if what == "rule":
        return _build_rule(graph, rules, of, start, inside)
    if what == "all":
        for one in of:
            start = _build(graph, rules, one, start, inside)
        return start
    if what == "one":
        end, total = graph.state(), sum(weight for weight, _ in of)
        for weight, one in of:
            first = graph.state()
            graph.arc(start, first, weight / total)
            graph.arc(_build(graph, rules, one, first, inside), end)
        return end
    return _build_repeated(graph, rules, part, start, inside)


def _build_repeated(graph: Graph, rules: dict[str, tuple], part: tuple, start: int, inside: tuple[str, ...]) -> int:
    """maybe: once or not; any: as often as one likes; some: at least once. Each way on is as likely as the other."""
    what, of = part
    first, end = graph.state(), graph.state()
    graph.arc(start, first, 1.0 if what == "some" else 0.5)
    if what != "some":
        graph.arc(start, end, 0.5)
    last = _build(graph, rules, of, first, inside)
    if what == "maybe":
        graph.arc(last, end)
    else:
        graph.arc(last, first, 0.5)
        graph.arc(last, end, 0.5)
    return end


def _build_rule(graph: Graph, rules: dict[str, tuple], name: str, start: int, inside: tuple[str, ...]) -> int:
    if name == "NULL":
        return start
    if name == "VOID":
        return graph.state()
    if name not in rules:
        raise InvalidInput(f"the grammar has no rule <{name}>, which one of its rules names")
    if name in inside:
        raise InvalidInput(f"the rule <{name}> refers to itself; say it with * or +")
    if len(inside) >= MAX_DEPTH:
        raise InvalidInput(f"the grammar has more than {MAX_DEPTH} rules in one another")
    return _build(graph, rules, rules[name], start, (*inside, name))
