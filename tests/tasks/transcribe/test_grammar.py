"""What may be said: our reading of JSGF against PocketSphinx's own, and every fault named."""

from itertools import product

import pytest
from pocketsphinx import Decoder, get_model_path
from pydantic import ValidationError

from tasks.algorithm import Call, load
from tasks.errors import InvalidInput
from tasks.transcribe import Params
from tasks.transcribe.grammar import MAX_ARCS, Graph, of_jsgf, of_words
from tests.tasks.transcribe.test_audio import SAMPLES, decode, encode

ORDERS = """#JSGF V1.0 UTF-8 en;  // spoken orders
grammar orders;
/* one order, politely or not */
public <order> = [please] (<move> | /3/ stop {halt} "right now");
<move> = go (left | right)+ | back <NULL> up*;
"""


def accepts(graph: Graph, sentence: str) -> bool:
    """Whether some way through the arcs says just these words."""

    def closed(states: set[int]) -> set[int]:
        while more := {end for start, end, _, word in graph.arcs if word is None and start in states} - states:
            states = states | more
        return states

    states = closed({0})
    for said in sentence.split():
        states = closed({end for start, end, _, word in graph.arcs if word == said and start in states})
    return graph.final in states


def test_a_grammar_says_its_sentences_and_no_others():
    """Optional, repeated and nested parts, weights, tags, quotes, comments and <NULL>."""
    graph = of_jsgf(ORDERS)
    for sentence in ("please go left", "go left right left", "stop right now", "back", "please back up up"):
        assert accepts(graph, sentence), sentence
    for sentence in ("", "please", "go", "stop", "left", "back back", "go up", "halt"):
        assert not accepts(graph, sentence), sentence


def test_it_accepts_what_pocketsphinx_reads_of_it():
    """The same sentences of up to three words, as PocketSphinx' own parser and graph accept them (but for a quote,
    which to PocketSphinx is one word with a space in it)."""
    config = {
        "hmm": get_model_path("en-us/en-us"),
        "dict": get_model_path("en-us/cmudict-en-us.dict"),
        "loglevel": "FATAL",
    }
    theirs = Decoder(lm=None, **config).parse_jsgf(ORDERS.replace('"', "").encode())
    ours = of_jsgf(ORDERS)
    words = ["please", "go", "left", "stop", "right", "now", "back", "up"]
    said = [" ".join(choice) for length in (1, 2, 3) for choice in product(words, repeat=length)]
    assert [theirs.accept(sentence) for sentence in said] == [accepts(ours, sentence) for sentence in said]


def test_weights_share_a_choice():
    """Probabilities of one choice sum to one: /3/ beside none is three of four."""
    out = [
        probability
        for start, _, probability, word in of_jsgf("public <x> = /3/ a | b;").arcs
        if start == 0 and word is None
    ]
    assert out == [0.75, 0.25]


def test_ways_that_say_nothing_are_put_together():
    """Afterwards one silent arc is enough between two words, with the probability of the likeliest way."""
    graph = of_jsgf("public <x> = (/3/ a | b)+ [c];")
    closed = graph.closed()
    silent = {(start, end): probability for start, end, probability, word in closed.arcs if word is None}
    assert all(
        (one, other) in silent or one == other for one, middle in silent for start, other in silent if start == middle
    )
    said = {word: (start, end) for start, end, _, word in closed.arcs if word is not None}
    assert silent[said["b"][1], said["a"][0]] == pytest.approx(0.5 * 0.75)  # once more, and then a
    for sentence in ("a", "b a b", "a c", "c", "a c a"):
        assert accepts(closed, sentence) == accepts(graph, sentence)


def test_words_are_a_loop():
    """Any order, any number, lower-cased, each once."""
    graph = of_words(["Yes", "no", " yes "])
    assert graph.words == {"yes", "no"}
    assert accepts(graph, "no no yes") and not accepts(graph, "no maybe")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no public rule"),
        ("<x> = a;", "no public rule"),
        ("public <x> = a", "line 1: ';' was expected"),
        ("public <x> = a;\n\npublic <y> = ;", "line 3: words or a rule were expected"),
        ("public <x> = (a | b;", "')' was expected, not ';'"),
        ("public <x> = <y>;", "no rule <y>"),
        ("public <x> = a <x>;", "refers to itself"),
        ("import <other.*>;", "import is not accepted"),
        ("public <x> = a;\npublic <x> = b;", "line 2: the rule <x> is there twice"),
        ("public x = a;", "line 1: a rule"),
        ("public <x> = * a;", "'*' stands where"),
        ("public <x> = /0/ a | b;", "weight must be more than 0"),
        ("public <x> = a } b;", "cannot be read at line 1"),
        ("public <x> = " + "(" * 60, "more than 50 brackets"),
        ("#JSGF V1.0", "ends in the middle"),
        ("<NULL> = a; public <x> = <NULL>;", "line 1: <NULL> is a rule of JSGF itself"),
        ("public <VOID> = a;", "line 1: <VOID> is a rule of JSGF itself"),
    ],
)
def test_a_bad_grammar_is_told_where_and_why(text, told):
    """Every fault is InvalidInput, with the line where there is one."""
    with pytest.raises(InvalidInput, match="grammar|rule") as error:
        of_jsgf(text)
    assert told in error.value.detail


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("public <x> = <VOID>;", "meets <VOID>"),
        ("public <x> = yes <VOID>;", "meets <VOID>"),
        ("public <x> = (yes | no) <y>; <y> = <VOID>+;", "meets <VOID>"),
        ("public <x> = <VOID>; public <y> = no <VOID>;", "meets <VOID>"),
        ("public <x> = <NULL>;", "has no word"),
        ('public <x> = "";', "has no word"),
        ("public <x> = [<NULL>] {tag};", "has no word"),
        ("public <x> = <y>*; <y> = <NULL> | <NULL>;", "has no word"),
        ("public <x> = [yes <VOID>];", "has no word"),
        ("public <x> = <VOID>*;", "has no word"),
    ],
)
def test_a_grammar_without_a_sentence_or_a_word_is_refused(text, told):
    """However deep <VOID> and <NULL> stand; each made PocketSphinx fail, or hear nothing and say nothing of it."""
    with pytest.raises(InvalidInput) as error:
        of_jsgf(text)
    assert told in error.value.detail and "; write" in error.value.detail


@pytest.mark.parametrize(
    "text",
    ["public <x> = yes | <VOID>;", "public <x> = yes | <NULL>;", "public <x> = [yes];", "public <x> = <NULL> yes;"],
)
def test_void_and_null_beside_a_word_are_read(text):
    assert accepts(of_jsgf(text), "yes")


def test_each_public_rule_may_be_said():
    """As JSGF has it; only the first was heard."""
    graph = of_jsgf("public <x> = yes; <y> = maybe; public <z> = no <y>;")
    assert [accepts(graph, said) for said in ("yes", "no maybe", "no", "maybe", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"grammar": "public <x> = <NULL>;"}, "has no word"),
        ({"grammar": "\ufeff"}, "no public rule"),
        ({"grammar": "public <x> = <x>;"}, "refers to itself"),
        ({"grammar": "public <x> = <y>;"}, "no rule <y>"),
        ({"words": ["yes", "\ufeff"]}, "one of the words is empty"),
        ({"words": [" \u200b"]}, "one of the words is empty"),
        ({"words": ["yes"], "grammar": "public <x> = yes;"}, "not both"),
    ],
)
def test_what_can_never_be_heard_is_no_request(params, told):
    """Known without a model, so at submit."""
    with pytest.raises(ValidationError, match=told):
        Params.model_validate(params)


def test_a_grammar_that_grows_without_end_is_refused():
    """Ten rules that each name the next twice ten times: more arcs than any sentence needs."""
    rules = [f"<r{n}> = " + " ".join([f"<r{n + 1}>"] * 10) + ";" for n in range(9)]
    with pytest.raises(InvalidInput, match=str(MAX_ARCS)):
        of_jsgf("public " + rules[0] + "".join(rules[1:]) + "<r9> = a;")


@pytest.fixture(scope="module")
def hmm():
    return load("transcribe", "hmm")


@pytest.fixture(scope="module")
def phrase(tmp_path_factory) -> str:
    """'Of course he could not': 1.5 s out of the reading."""
    sound = decode(SAMPLES / "reading_female.opus")[int(4.6 * 16_000) : int(6.1 * 16_000)]
    return str(encode(sound, tmp_path_factory.mktemp("phrase"), "flac"))


def test_nothing_but_the_grammar_is_heard(hmm, phrase):
    """The sentence that fits the sound, out of those there are; the next call has its trigrams back."""
    grammar = "public <x> = (of course | in truth) (he | she) could (not | now and then);"
    asked = hmm.run([Call.of("transcribe", {"grammar": grammar}, audio=phrase)])[0].value
    assert asked["text"] == "of course he could not"
    assert asked["confidence"] is None
    other = hmm.run([Call.of("transcribe", {"grammar": "public <x> = yes | no;"}, audio=phrase)])[0].value
    assert other["text"] in ("yes", "no", "")
    assert hmm.run([Call.of("transcribe", audio=phrase)])[0].value["confidence"] > 0


def test_nothing_but_the_words_is_heard(hmm, phrase):
    """In the order in which they are said."""
    words = ["not", "could", "he", "course", "of", "elephant", "seven"]
    assert hmm.run([Call.of("transcribe", {"words": words}, audio=phrase)])[0].value["text"] == "of course he could not"


def test_words_that_nobody_can_pronounce_are_named(hmm, phrase):
    """All of them that fit in a sentence, and what can be done; other calls of the list go on."""
    unknown, good = hmm.run(
        [
            Call.of("transcribe", {"words": ["yes", "xqzt", "42", "<s>", "the(2)"]}, audio=phrase),
            Call.of("transcribe", {"words": ["yes", "no"]}, audio=phrase),
        ]
    )
    assert isinstance(unknown, InvalidInput)
    assert all(word in unknown.detail for word in ("xqzt", "42", "<s>", "the(2)")) and "yes" not in unknown.detail
    assert set(good.value["text"].split()) <= {"yes", "no"}
