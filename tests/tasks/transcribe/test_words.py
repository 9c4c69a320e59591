"""Word HMMs against hmmlearn, and digits in use: what is trained, what is heard."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tasks.algorithm import Call
from tasks.errors import ModelFailed
from tasks.transcribe.hmm_words import Model
from tasks.transcribe.training.baum_welch import begun, iteration
from tasks.transcribe.word_models import LEAVE, SILENCE, Loop, WordHmm, as_tensors, of_tensors, viterbi
from tests.tasks.transcribe.test_audio import encode

STATES, MIXTURES, SIZE = 3, 2, 4


def random_model(seed: int, offset: float = 0.0, states: int = STATES) -> WordHmm:
    random = np.random.default_rng(seed)
    transitions = 0.7 * np.eye(states) + 0.3 * np.eye(states, k=1)
    transitions[-1, -1] = 1
    weights = random.dirichlet([5] * MIXTURES, states)
    return WordHmm(
        transitions,
        weights,
        random.normal(offset, 2, (states, MIXTURES, SIZE)),
        random.uniform(0.5, 2, (states, MIXTURES, SIZE)),
    )


def sample(model: WordHmm, frames_a_state: int, seed: int) -> np.ndarray:
    """Frames drawn from a word's states, one after another."""
    random = np.random.default_rng(seed)
    chosen = [
        (state, random.choice(MIXTURES, p=model.weights[state]))
        for state in range(len(model.transitions))
        for _ in range(frames_a_state)
    ]
    return np.array([random.normal(model.means[one], np.sqrt(model.variances[one])) for one in chosen])


def theirs(model: WordHmm):
    """The same model in hmmlearn."""
    hmmlearn = importlib.import_module("hmmlearn.hmm")
    made = hmmlearn.GMMHMM(STATES, MIXTURES, covariance_type="diag", init_params="", params="tmcw", n_iter=1)
    made.n_features = SIZE
    made.startprob_, made.transmat_ = np.eye(STATES)[0], model.transitions
    made.weights_, made.means_, made.covars_ = model.weights, model.means, model.variances
    return made


def test_the_likeliest_states_are_hmmlearns():
    """Viterbi over the same parameters: the same states and the same ln p."""
    model = random_model(0)
    with np.errstate(divide="ignore"):
        moves, start = np.log(model.transitions), np.log(np.eye(STATES)[0])
    for seed in range(5):
        frames = sample(random_model(seed + 1), 6, seed)
        likelihood = model.log_likelihood(frames)
        log_p, states = theirs(model).decode(frames, algorithm="viterbi")
        path = viterbi(likelihood, start, moves, np.zeros(STATES))
        assert path.tolist() == states.tolist()
        assert likelihood[np.arange(len(path)), path].sum() + moves[path[:-1], path[1:]].sum() == pytest.approx(log_p)


def test_an_iteration_is_hmmlearns():
    """One step of Baum-Welch: the same model, but for theirs not insisting that a recording ends in the last state."""
    model = random_model(3)
    recordings = [np.vstack([sample(model, 4 + seed % 3, seed), sample(model, 4, seed)[-4:]]) for seed in range(8)]
    ours, log_p = iteration(model, recordings)
    reference = theirs(model)
    reference.fit(np.vstack(recordings), [len(one) for one in recordings])
    assert log_p == pytest.approx(reference.monitor_.history[-1], rel=1e-3)
    assert ours.transitions == pytest.approx(reference.transmat_, abs=1e-2)
    assert ours.weights == pytest.approx(reference.weights_, abs=1e-2)
    assert ours.means == pytest.approx(reference.means_, abs=3e-2)
    around_the_old_means = ours.variances + (ours.means - model.means) ** 2  # where hmmlearn takes them
    assert around_the_old_means == pytest.approx(reference.covars_, abs=3e-2)


def test_training_makes_recordings_likelier():
    """Every iteration, and the parameters stay proper: rows sum to one, variances are positive."""
    recordings = [sample(random_model(5), 5 + seed % 4, seed) for seed in range(12)]
    model, heard = begun(recordings, STATES, MIXTURES), []
    for _ in range(5):
        model, log_p = iteration(model, recordings)
        heard.append(log_p)
    assert all(later >= earlier - 1e-6 for earlier, later in zip(heard, heard[1:], strict=False))
    assert model.transitions.sum(axis=1) == pytest.approx(1) and model.weights.sum(axis=1) == pytest.approx(1)
    assert (model.variances > 0).all()


@pytest.fixture(scope="module")
def loop() -> Loop:
    """Two words and silence, far from one another."""
    quiet = random_model(9, -12, states=1)
    return Loop(
        {
            SILENCE: WordHmm(np.ones((1, 1)), quiet.weights, quiet.means, quiet.variances),
            "yes": random_model(1, 4),
            "no": random_model(2, -4),
        }
    )


def test_words_are_heard_in_their_order(loop):
    """With silence between and none; the frames of each are where it was put, within two."""
    said = {word: sample(model, 6, 3) for word, model in loop.models.items()}
    order = [SILENCE, "yes", "no", SILENCE, "no", "yes", "yes"]
    heard = loop.hear(np.vstack([said[word] for word in order]))
    assert [one.word for one in heard] == ["yes", "no", "no", "yes", "yes"]
    assert [one.start for one in heard] == pytest.approx([6, 24, 48, 66, 84], abs=2)
    assert all(one.confidence > 0.9 for one in heard)


def test_one_word_is_the_best_of_all_words(loop):
    """Against the loop's own Viterbi over each word alone between silences."""
    silence = loop.models[SILENCE]
    for seed in range(6):
        frames = np.vstack([sample(silence, 2, seed), sample(random_model(seed), 4, seed), sample(silence, 3, seed)])
        scores = {}
        for word in ("yes", "no"):
            model = loop.models[word]
            size = STATES + 2
            stay = np.array([1 - LEAVE, *np.diag(model.transitions)[:-1], 1 - LEAVE, 1 - LEAVE])
            with np.errstate(divide="ignore"):
                moves = np.log(np.diag(stay) + np.diag(1 - stay[:-1], 1))
                ends = np.log([*np.zeros(size - 2), LEAVE, LEAVE])
                start = np.log([1, 1, *np.zeros(size - 2)])
            quiet = silence.log_likelihood(frames)
            likelihood = np.hstack([quiet, model.log_likelihood(frames), quiet])
            path = viterbi(likelihood, start, moves, ends)
            scores[word] = likelihood[np.arange(len(path)), path].sum() + moves[path[:-1], path[1:]].sum()
        assert loop.isolated(frames) == max(scores, key=scores.get)


def test_models_read_back(loop):
    """As tensors in float32, word by word."""
    again = of_tensors(as_tensors(loop.models), list(loop.models))
    frames = sample(loop.models["yes"], 5, 0)
    for word, model in loop.models.items():
        assert again[word].log_likelihood(frames) == pytest.approx(model.log_likelihood(frames), rel=1e-4)


def test_a_folder_without_weights_is_named(tmp_path):
    """The operator is told what is missing, and where."""
    with pytest.raises(ModelFailed, match="config.json"):
        Model.load(tmp_path)


WEIGHTS = Path(__file__).parents[3] / "tasks" / "transcribe" / "weights" / "hmm-words"


def test_silence_is_no_digit(tmp_path):
    """The shipped weights; nothing said is an answer."""
    (result,) = Model.load(WEIGHTS).run(
        [Call.of("transcribe", audio=str(encode(np.zeros(30_000, np.int16), tmp_path, "wav")))]
    )
    assert result.value["text"] == ""


@pytest.mark.data("audio/fsdd")
def test_digits_said_by_known_voices_are_heard(real_data, tmp_path):
    """Recordings of the official test part, three of each speaker, as jobs; and a string of five with pauses."""
    from tasks.transcribe.training import corpora
    from tasks.transcribe.training.words import WORDS

    model = Model.load(WEIGHTS)
    digits = list(corpora.digits(real_data, indexes=(0,)))
    chosen = digits[::4]
    paths = [str(encode(digit.sound, _made(tmp_path / str(n)), "wav")) for n, digit in enumerate(chosen)]
    heard = [result.value["text"] for result in model.run([Call.of("transcribe", audio=path) for path in paths])]
    right = [text == WORDS[digit.digit] for text, digit in zip(heard, chosen, strict=True)]
    assert np.mean(right) > 0.8
    said = [digit for digit in digits if digit.speaker == "jackson"][:5]
    string = np.concatenate([part for digit in said for part in (digit.sound, np.zeros(9600, np.int16))])
    text = model.run([Call.of("transcribe", audio=str(encode(string, tmp_path, "wav")))])[0].value["text"]
    assert sum(word in text.split() for word in (WORDS[digit.digit] for digit in said)) >= 4


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
