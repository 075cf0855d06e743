"""What the three scripts lean on."""

import os

# Set before PyTorch is imported: threads that wait sleep. When they spin, they take the cores from those they wait
# for: on a busy machine a picture was read in 53 s instead of 9.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
