"""The memory of slots against a loop over pixels and slots."""

import math

import torch

from landmeta.meta.slots import address, balanced_mass, read, write


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def _addressed(key, slots, strength):
    powers = [math.exp(strength * _cosine(key, slot)) for slot in slots]
    return [p / sum(powers) for p in powers]


def _unit(row):
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def _example():
    generator = torch.Generator().manual_seed(0)
    slots, keys = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (3, 10))
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 4, 4])
    classes = torch.nn.functional.one_hot(label, 5).double()
    mass = balanced_mass(label, classes.sum(0), 6.0)
    return slots, keys, classes, mass, torch.tensor(3.0, dtype=torch.float64)


def test_each_class_has_the_same_mass():
    _, _, classes, mass, _ = _example()
    torch.testing.assert_close(mass @ classes, torch.tensor([2.0, 2, 0, 0, 2]).double())


def test_writing_is_the_mean_of_what_each_slot_was_addressed_with():
    slots, keys, classes, mass, strength = _example()
    content, shares = write(slots, keys, classes, mass, strength, rounds=2)
    expected = [_unit(s) for s in slots.tolist()]
    for _ in range(2):
        sums, total = [_unit(s) for s in slots.tolist()], [1.0] * 3
        told = [[1 / 5] * 5 for _ in range(3)]
        rows = zip(keys.tolist(), classes.tolist(), mass.tolist(), strict=True)
        for key, one_hot, weight in rows:
            for s, share in enumerate(_addressed(key, expected, 3.0)):
                part = weight * share
                sums[s] = [a + part * b for a, b in zip(sums[s], _unit(key), strict=True)]
                told[s] = [a + part * b for a, b in zip(told[s], one_hot, strict=True)]
                total[s] += part
        expected = [[x / t for x in row] for row, t in zip(sums, total, strict=True)]
    torch.testing.assert_close(content, torch.tensor(expected).double())
    told = torch.tensor([[x / sum(row) for x in row] for row in told]).double()
    torch.testing.assert_close(shares, told)


def test_reading_is_the_mean_of_the_addressed_slots():
    slots, keys, classes, mass, strength = _example()
    content, shares = write(slots, keys, classes, mass, strength, rounds=1)
    found = read(keys, content, shares, strength)
    torch.testing.assert_close(found, address(keys, content, strength) @ shares)
    torch.testing.assert_close(found.sum(1), torch.ones(10).double())
    by_hand = torch.tensor(_addressed(keys[0].tolist(), content.tolist(), 3.0)).double() @ shares
    torch.testing.assert_close(found[0], by_hand)


def test_the_order_of_the_pixels_does_not_matter():
    slots, keys, classes, mass, strength = _example()
    turn = torch.tensor([9, 3, 1, 0, 2, 4, 8, 7, 6, 5])
    one = write(slots, keys, classes, mass, strength, rounds=3)
    other = write(slots, keys[turn], classes[turn], mass[turn], strength, rounds=3)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_nothing_written_leaves_the_slots_and_tells_of_no_class():
    slots, keys, classes, mass, strength = _example()
    content, shares = write(slots, keys[:0], classes[:0], mass[:0], strength, rounds=2)
    torch.testing.assert_close(content, torch.nn.functional.normalize(slots, dim=1))
    torch.testing.assert_close(shares, torch.full((3, 5), 0.2).double())
