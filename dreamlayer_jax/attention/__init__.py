"""Attention: the one softmax attention, context maps (CACA) and layer-shared self-attention (LSSA)."""
