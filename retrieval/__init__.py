"""Text and question to evidence: attention index, InfiniRetri, clustered retrieval, packing."""
