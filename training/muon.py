"""Muon (Jordan et al., 2024): momentum whose matrix updates are orthogonalised by a Newton-Schulz iteration.

Markedly more sample-efficient than AdamW on a model this small; embeddings and norms stay with AdamW.
"""

import torch

from .model import fast_dtype


def orthogonalise(g, steps=5):
    """Nearly U Vᵀ of g = U S Vᵀ: the quintic iteration maps every singular value to about 1 (0.7 to 1.2)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(fast_dtype())
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"] = torch.zeros_like(p)
                state["m"].lerp_(p.grad, 1 - group["momentum"])
                shapes.setdefault(p.shape, []).append((p, p.grad.lerp(state["m"], group["momentum"])))
            for shape, pairs in shapes.items():  # equal shapes go through one batched iteration
                update = orthogonalise(torch.stack([u for _, u in pairs]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for (p, _), u in zip(pairs, update):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-group["lr"] * scale)
