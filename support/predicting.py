"""A network's logits for many digits."""

import torch

BATCH_SIZE = 500  # no effect on the result, only on speed and memory


@torch.inference_mode()
def predict(model, images):
    """Logits, float32 [N, 10], of images, uint8 [N, 1, 28, 28], computed on their device, in eval mode.

    In float32 even if the hardware has bfloat16: the answers are then the same on every machine.
    """
    model.eval()
    return torch.cat([model(batch.float() / 255) for batch in images.split(BATCH_SIZE)])
