"""What of captioning is trained: `python -m worker.train caption/<name>`; the encoder first, the others need it."""

from tasks.caption.train_encoder import Encoder
from tasks.caption.train_tellers import CnnAttention, CnnLstm, Transformer

RECIPES = {"encoder": Encoder, "cnn-lstm": CnnLstm, "cnn-attention": CnnAttention, "transformer": Transformer}
