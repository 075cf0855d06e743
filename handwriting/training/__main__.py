"""python -m handwriting.training trains the finder and writes its weights; run again, it resumes."""

from support.errors import one_line_errors

if __name__ == "__main__":
    one_line_errors()  # before the imports, which take seconds

    import torch

    from handwriting.training.learning import learn

    torch.set_num_threads(1)  # the other cores make pages
    learn()
