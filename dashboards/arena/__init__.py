"""The page of Inference Arena: its four questions, answered from one run."""
