"""The whole of a trainer that leaves optimizer and schedule to the spec. Run it in this folder: python minimal.py."""

import torch
from data import load_corpus
from model import GPT

import optreg

torch.manual_seed(1)
corpus = load_corpus()
model = GPT(len(corpus.alphabet), block=64)

optimizer, scheduler = optreg.build("configs/run.yaml", model)

batches = corpus.batches(size=16, block=64, seed=1)
for step in range(41):
    loss = model.loss(*next(batches))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    if step % 20 == 0:
        print(f"update {step:3d}: loss {loss.item():.2f}")
print(f"unigram entropy {corpus.unigram_entropy:.2f}")
