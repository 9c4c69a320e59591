"""Words as numbers: tf-idf rows of documents, rows of length 1, the words of an English text.

It knows nothing of titles. scikit-learn computes the same; importing it takes longer than most jobs of `content`.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse

WORD = re.compile(r"\b\w\w+\b")
LISTED = """
a about above across after afterwards again against all almost alone along already also although always am among
amongst amoungst amount an and another any anyhow anyone anything anyway anywhere are around as at back be became
because become becomes becoming been before beforehand behind being below beside besides between beyond bill both
bottom but by call can cannot cant co con could couldnt cry de describe detail do done down due during each eg
eight either eleven else elsewhere empty enough etc even ever every everyone everything everywhere except few
fifteen fifty fill find fire first five for former formerly forty found four from front full further get give go
had has hasnt have he hence her here hereafter hereby herein hereupon hers herself him himself his how however
hundred i ie if in inc indeed interest into is it its itself keep last latter latterly least less ltd made many may
me meanwhile might mill mine more moreover most mostly move much must my myself name namely neither never
nevertheless next nine no nobody none noone nor not nothing now nowhere of off often on once one only onto or other
others otherwise our ours ourselves out over own part per perhaps please put rather re same see seem seemed seeming
seems serious several she should show side since sincere six sixty so some somehow someone something sometime
sometimes somewhere still such system take ten than that the their them themselves then thence there thereafter
thereby therefore therein thereupon these they thick thin third this those though three through throughout thru
thus to together too top toward towards twelve twenty two un under until up upon us very via was we well were what
whatever when whence whenever where whereafter whereas whereby wherein whereupon wherever whether which while
whither who whoever whole whom whose why will with within without would yet you your yours yourself yourselves
"""
"""English words without a subject: the list of the Glasgow Information Retrieval Group, as scikit-learn has it."""
STOP_WORDS = frozenset(LISTED.split())


def english(text: str) -> list[str]:
    """The words of a text in small letters: two characters at least, no stop word."""
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def tf_idf(documents: Iterable[Sequence[str]], most: int | None = None) -> tuple[sparse.csr_matrix, list[str]]:
    """Rows of length 1 (documents, words) csr float64, or 0 of a document without words; and the words in order.

    A word weighs its count times ln((1 + n) / (1 + df)) + 1 (n documents, df with the word). `most`: only so many
    words are kept, those that occur most often, and of equals the first in order.
    """
    counts = [Counter(words) for words in documents]
    total: Counter[str] = Counter()
    for of_document in counts:
        total.update(of_document)
    words = sorted(total)
    if most is not None:
        words = sorted(sorted(words, key=lambda word: -total[word])[:most])
    column = {word: number for number, word in enumerate(words)}
    data, indices, indptr = array("d"), array("i"), array("i", [0])
    for of_document in counts:
        kept = sorted((column[word], count) for word, count in of_document.items() if word in column)
        indices.extend(number for number, _ in kept)
        data.extend(count for _, count in kept)
        indptr.append(len(indices))
    df = np.bincount(indices, minlength=len(words))
    idf = np.log((1 + len(counts)) / (1 + df)) + 1
    weights = np.asarray(data) * idf[np.asarray(indices)]
    shape = (len(counts), len(words))
    return unit(sparse.csr_matrix((weights, np.asarray(indices), np.asarray(indptr)), shape)), words


def unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    """Each row at length 1; a row of nothing stays as it is."""
    each = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    lengths = np.sqrt(np.bincount(each, weights=rows.data**2, minlength=rows.shape[0]))
    lengths[lengths == 0] = 1
    return sparse.csr_matrix((rows.data / lengths[each], rows.indices, rows.indptr), rows.shape)
