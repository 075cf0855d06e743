"""A network's logits for many digits, in bfloat16 but with the same answers as in float32."""

import torch

from support import device as devices

BATCH_SIZE = 500  # no effect on the result, only on speed and memory
CLOSE = 1.0  # if the two highest logits are closer than this, float32 decides; bfloat16 moved them by 0.17 at most


@torch.inference_mode()
def predict(model, images):
    """Logits, float32 [N, 10], of images, uint8 [N, 1, 28, 28], computed on their device, in eval mode.

    If the hardware has bfloat16, it is used. Digits whose two highest logits are close are then computed again in
    float32, so that the answers are the same as in float32.
    """
    model.eval()

    def forward(images, precision):
        with devices.autocast(images.device, precision):
            return torch.cat([model(batch.float() / 255) for batch in images.split(BATCH_SIZE)]).float()

    precision = devices.best_precision(images.device)
    logits = forward(images, precision)
    if precision != torch.float32:
        first, second = logits.topk(2).values.unbind(1)
        close = first - second < CLOSE
        logits[close] = forward(images[close], torch.float32)
    return logits
