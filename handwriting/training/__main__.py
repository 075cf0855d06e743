"""python -m handwriting.training [finder] [judge]: trains both networks, or those named, and writes their weights."""

import sys

from support.errors import UserError, one_line_errors

if __name__ == "__main__":
    one_line_errors()  # before the imports, which take seconds

    import torch

    from handwriting.training import judging, learning

    torch.set_num_threads(1)  # the other cores make pages
    networks = {"finder": learning.learn, "judge": judging.learn}
    for name in sys.argv[1:] or networks:
        if name not in networks:
            raise UserError(f"there is no network {name}: name finder or judge, or none for both")
        networks[name]()
