"""What of captioning is trained: `python -m worker.train caption/<name>`; the encoder first, the others need it."""

from tasks.caption.training.encoder import Encoder
from tasks.caption.training.tellers import CnnAttention, CnnLstm, SelfAttention, SelfAttentionControl, Transformer

RECIPES = {
    "encoder": Encoder,
    "cnn-lstm": CnnLstm,
    "cnn-attention": CnnAttention,
    "self-attention": SelfAttention,
    "self-attention-control": SelfAttentionControl,
    "transformer": Transformer,
}
