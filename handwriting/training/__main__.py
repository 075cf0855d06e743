"""python -m handwriting.training: trains the detector from nothing, or from where it was stopped; see README.md."""

from support.errors import ArgumentParser, one_line_errors

if __name__ == "__main__":
    one_line_errors()  # before the imports, which take seconds

    import torch

    from handwriting import SMALL
    from handwriting.detector import WEIGHTS, load_detector
    from handwriting.training.calibrating import calibrate
    from handwriting.training.learning import learn, save_network
    from handwriting.training.measuring import made_pages, print_table
    from handwriting.training.sources import held_out_source, training_source
    from Model import load_parameters
    from support.device import tune_cpu
    from support.runs import last_epoch

    ArgumentParser(__doc__).parse_args()
    tune_cpu()
    torch.set_num_threads(1)  # the other cores make pages
    held_out = held_out_source()
    network = learn(training_source(), held_out, WEIGHTS.with_suffix(".pt"))
    save_network(network, WEIGHTS)
    model = load_parameters(last_epoch(SMALL)[1])
    network.load_state_dict(calibrate(load_detector(), held_out, model), strict=False)
    save_network(network, WEIGHTS)
    print_table(made_pages(held_out), model)
