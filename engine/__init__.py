"""The language model and everything that touches its tensors; knows no corpus, no route, no RPC."""
