"""One torch thread: tests work on small tensors, and those who start several processes should not crowd the machine."""

import torch

torch.set_num_threads(1)
