"""Tree-packed rows against flat rows: the same log-probabilities, loss and gradients."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import pytest
import torch
from anytime_training import policy
from anytime_training.config.loss import LossConfig
from anytime_training.loss import policy_loss
from anytime_training.policy import (
    ATTENTION_IMPLEMENTATIONS,
    AttentionBackend,
    block_mask,
    head_logprobs,
    mask_mod,
    require_full_attention,
    token_logprobs,
)
from anytime_training.tree import Branch, PackedRows, Segment, Tree, flatten, pack
from gpu_check.attention import flex_on_cpu
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
)
from transformers.integrations.flex_attention import WrappedFlexAttention

VOCAB_SIZE = 60
END_OF_TURN_ID, PAD_ID = 58, 59
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": PAD_ID,
}
FAMILIES = ("qwen3", "qwen2", "llama")
LOSS = LossConfig(kl_coefficient=0.05)
NORMALISER = 100.0
RTOL = 1e-9


def make_model(family: str = "qwen3", *, attention: str = "sdpa") -> PreTrainedModel:
    """A tiny random model in double precision, including its norms."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True))
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    model.set_attn_implementation(attention)
    # Transformers computes the norms in float32 for every model type, too coarse for the comparison.
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RMSNorm"):
            assert isinstance(module.weight, Tensor)
            eps = module.variance_epsilon
            assert isinstance(eps, float)
            model.set_submodule(name, nn.RMSNorm(module.weight.shape[0], eps=eps))
    return model.double().train()


def random_rollouts(seed: int, *, num_trees: int = 5) -> list[Tree]:
    """Realistic rollouts: collapsed budgets, several answers per truncation, thinking that ends the turn."""
    rng = random.Random(seed)

    def make_segment(num_fixed: int, ids: list[int]) -> Segment:
        ids = [*(rng.randrange(END_OF_TURN_ID) for _ in range(num_fixed)), *ids]
        learned = [index >= num_fixed for index in range(len(ids))]
        return Segment(
            ids=ids,
            learned=learned,
            advantages=[rng.gauss(0, 1) * is_learned for is_learned in learned],
            sampler_logprobs=[(-4 + rng.gauss(0, 0.5)) * is_learned for is_learned in learned],
        )

    trees = []
    for number in range(num_trees):
        num_prompt, num_thinking = rng.randrange(1, 5), rng.randrange(1, 15)
        thinking = [rng.randrange(END_OF_TURN_ID) for _ in range(num_thinking)]
        end_of_turn = [END_OF_TURN_ID] * (number % 2)  # the last sampled token, which no answer attends to
        trunk = make_segment(num_prompt, [*thinking, *end_of_turn])
        lengths = [min(budget, num_thinking) for budget in (3, 6, 9, 12)]
        branches = tuple(
            Branch(
                segment=make_segment(
                    rng.randrange(1, 4), [rng.randrange(END_OF_TURN_ID) for _ in range(rng.randrange(1, 6))]
                ),
                num_visible=num_prompt + length,
            )
            for length in lengths
            for _ in range(2)
        )
        trees.append(Tree(trunk=trunk, branches=branches))
    return trees


def loss_and_gradients(
    model: PreTrainedModel, batches: list[PackedRows], *, chunk_tokens: int | None = 16
) -> tuple[Tensor, dict[str, Tensor]]:
    """Accumulated over `batches`; old and reference log-probabilities follow from the sampler's."""
    model.zero_grad(set_to_none=True)
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        tokens = batch.learned_tokens()
        loss, _ = policy_loss(
            token_logprobs(model, batch, backend="sdpa", chunk_tokens=chunk_tokens),
            tokens.sampler_logprobs_N.double() * 0.95,
            tokens,
            config=LOSS,
            normaliser=NORMALISER,
            reference_logprobs_N=tokens.sampler_logprobs_N.double() * 1.05,
        )
        loss.backward()
        total += loss.detach()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert len(gradients) == len(list(model.parameters()))
    return total, gradients


def flat_rows(trees: list[Tree]) -> list[PackedRows]:
    """Each flat row by itself, without packing and padding."""
    flat = [part for tree in trees for part in flatten(tree)]
    return [pack([part], row_tokens=1, pad_id=PAD_ID) for part in flat]


def assert_same(found: tuple[Tensor, dict[str, Tensor]], wanted: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(found[0], wanted[0], rtol=RTOL, atol=0)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        # Relative to each parameter's largest entry: sums that cancel keep no exact digits.
        atol = RTOL * gradient.abs().max().item()
        torch.testing.assert_close(found[1][name], gradient, rtol=RTOL, atol=atol, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_trees_are_flat_rows(family: str, seed: int) -> None:
    model, trees = make_model(family), random_rollouts(seed)
    wanted = loss_and_gradients(model, flat_rows(trees))
    for row_tokens, multiple_of, max_tokens in [(1, 1, 1), (160, 1, 160), (160, 16, 480), (512, 128, 10_000)]:
        rows = pack(trees, row_tokens=row_tokens, pad_id=PAD_ID, multiple_of=multiple_of)
        assert_same(loss_and_gradients(model, list(rows.micro_batches(max_tokens))), wanted)


def test_order_of_trees_does_not_matter() -> None:
    model, trees = make_model(), random_rollouts(7)
    ahead, back = (pack(some, row_tokens=200, pad_id=PAD_ID) for some in (trees, trees[::-1]))
    assert_same(loss_and_gradients(model, [ahead]), loss_and_gradients(model, [back]))


def test_flat_rows_packed_together_are_flat_rows() -> None:
    """Flat training goes through the same packing."""
    model, trees = make_model(), random_rollouts(8)
    flat = [part for tree in trees for part in flatten(tree)]
    packed = pack(flat, row_tokens=96, pad_id=PAD_ID)
    assert_same(
        loss_and_gradients(model, list(packed.micro_batches(192))),
        loss_and_gradients(model, flat_rows(trees)),
    )


def wrong_rows(rows: PackedRows, fault: str) -> PackedRows:
    is_branch_RT = rows.branch_RT > 0
    if fault == "branches see each other":
        return replace(rows, branch_RT=rows.branch_RT.clamp(max=1))
    if fault == "branches see all of the trunk":
        return replace(rows, visible_end_RT=is_branch_RT * rows.ids_RT.shape[1])
    if fault == "branches see one token too few":
        return replace(rows, visible_end_RT=rows.visible_end_RT - is_branch_RT.int())
    if fault == "trees see each other":
        return replace(rows, tree_RT=rows.tree_RT.clamp(max=0))
    assert fault == "positions follow the row"
    return replace(rows, positions_RT=torch.arange(rows.ids_RT.shape[1]).expand_as(rows.ids_RT))


@pytest.mark.parametrize(
    "fault",
    [
        "branches see each other",
        "branches see all of the trunk",
        "branches see one token too few",
        "trees see each other",
        "positions follow the row",
    ],
)
def test_wrong_masks_are_detected(fault: str) -> None:
    model, trees = make_model(), random_rollouts(1)
    rows = pack(trees, row_tokens=512, pad_id=PAD_ID)
    right, _ = loss_and_gradients(model, [rows])
    wrong, _ = loss_and_gradients(model, [wrong_rows(rows, fault)])
    assert abs(wrong - right) > 1e-4 * abs(right)


def test_log_probabilities_are_those_of_a_plain_forward_pass() -> None:
    """Against the model's own log-probabilities of a single sequence, without packing, mask or positions."""
    model, tree = make_model(), random_rollouts(2)[0]
    flat = flatten(tree)
    packed = [pack([one], row_tokens=1, pad_id=PAD_ID) for one in flat]
    for one, rows in zip(flat, packed, strict=True):
        logits_TV = model(input_ids=torch.tensor([one.trunk.ids])).logits[0]
        expected = [
            logits_TV[index - 1].log_softmax(-1)[one.trunk.ids[index]]
            for index, learned in enumerate(one.trunk.learned)
            if learned
        ]
        found_N = token_logprobs(model, rows, backend="sdpa")
        torch.testing.assert_close(found_N, torch.stack(expected), rtol=RTOL, atol=0)


@pytest.mark.parametrize("chunk_tokens", [1, 7, 10_000])
def test_chunks_change_nothing(chunk_tokens: int) -> None:
    model, trees = make_model(), random_rollouts(4)
    rows = pack(trees, row_tokens=256, pad_id=PAD_ID)
    whole = loss_and_gradients(model, [rows], chunk_tokens=None)
    assert_same(loss_and_gradients(model, [rows], chunk_tokens=chunk_tokens), whole)


def test_logits_are_made_in_chunks() -> None:
    head, lengths = nn.Linear(4, 9, bias=False), list[int]()
    head.register_forward_hook(lambda _module, _arguments, logits: lengths.append(len(logits)))
    hidden_NH = torch.randn(10, 4, requires_grad=True)
    head_logprobs(head, hidden_NH, torch.arange(10) % 9, chunk_tokens=4).sum().backward()
    assert lengths[:3] == [4, 4, 2]
    assert sorted(lengths[3:]) == [2, 4, 4], "computed again in the backward pass, not kept"


def test_half_precision_heads_give_float32() -> None:
    head, hidden_NH = nn.Linear(8, 50, bias=False).bfloat16(), torch.randn(6, 8).bfloat16()
    targets_N = torch.arange(6)
    found_N = head_logprobs(head, hidden_NH, targets_N, chunk_tokens=4)
    expected_N = head(hidden_NH).double().log_softmax(-1)[range(6), targets_N]
    assert found_N.dtype == torch.float32
    torch.testing.assert_close(found_N.double(), expected_N, rtol=1e-5, atol=1e-5)


def test_rows_without_learned_tokens() -> None:
    nothing = Segment(ids=[1, 2], learned=[False] * 2, advantages=[0.0] * 2, sampler_logprobs=[0.0] * 2)
    rows = pack([Tree(trunk=nothing)], row_tokens=2, pad_id=PAD_ID)
    loss, gradients = loss_and_gradients(make_model(), [rows])
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("seed", range(3))
def test_pointwise_mask_for_flex(seed: int) -> None:
    rows = pack(random_rollouts(seed), row_tokens=128, pad_id=PAD_ID, multiple_of=128)
    mask = rows.mask_RTT()
    is_seen = mask_mod(rows)
    rng = random.Random(seed)
    for _ in range(500):
        row, query, key = (torch.tensor(rng.randrange(size)) for size in mask.shape)
        assert is_seen(row, torch.tensor(0), query, key) == mask[row, query, key]


def test_blocks_for_flex_cover_the_mask() -> None:
    """The mask keeps exactly the blocks in which a query attends to a key."""
    rows = pack(random_rollouts(5, num_trees=12), row_tokens=384, pad_id=PAD_ID, multiple_of=128)
    blocks = rows.mask_RTT().unfold(1, 128, 128).unfold(2, 128, 128).flatten(3).any(-1)
    assert not blocks.all()
    assert torch.equal(block_mask(rows).to_dense()[:, 0].bool(), blocks)


@pytest.mark.parametrize("bf16", [False, True])
def test_flex_is_sdpa(bf16: bool) -> None:
    """Log-probabilities and gradients. A CPU runs it uncompiled; scripts/gpu-check.sh compiles it."""
    rows = pack(random_rollouts(6), row_tokens=256, pad_id=PAD_ID, multiple_of=128)

    def measured(backend: AttentionBackend) -> tuple[Tensor, Tensor]:
        model = make_model("qwen2", attention=ATTENTION_IMPLEMENTATIONS[backend]).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logprobs_N = token_logprobs(model, rows, backend=backend)
        logprobs_N.sum().backward()
        return logprobs_N.detach(), nn.utils.parameters_to_vector(
            [one.grad for one in model.parameters() if one.grad is not None]
        )

    with flex_on_cpu():
        for flex, sdpa in zip(measured("flex"), measured("sdpa"), strict=True):
            assert (flex - sdpa).norm() < (0.05 if bf16 else 1e-5) * sdpa.norm()


@pytest.mark.nightly
@pytest.mark.filterwarnings("default", "error:flex_attention called without torch.compile")
def test_flex_stays_compiled_for_rows_of_many_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's front end alone, which decides whether to compile again or to give up."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr(WrappedFlexAttention, "_instance", None)
    monkeypatch.setattr(
        "anytime_training.policy.create_block_mask", policy._compiled_create_block_mask.__wrapped__()
    )
    monkeypatch.setattr(torch._dynamo.config, "disable", False)
    model = make_model("qwen2", attention=ATTENTION_IMPLEMENTATIONS["flex"]).float()
    one = Segment(ids=[1, 2], learned=[False, True], advantages=[0.0, 1.0], sampler_logprobs=[0.0, -1.0])
    for num_rows, length in [(3, 200), (2, 200), (1, 200), (4, 300), (1, 420)]:
        trunk = Segment(
            ids=[1] * length,
            learned=[False] * length,
            advantages=[0.0] * length,
            sampler_logprobs=[0.0] * length,
        )
        tree = Tree(trunk=trunk, branches=(Branch(segment=one, num_visible=length),))
        rows = pack([tree] * num_rows, row_tokens=128, pad_id=PAD_ID, multiple_of=128)
        with torch.no_grad():
            token_logprobs(model, rows, backend="flex")
        token_logprobs(model, rows, backend="flex").sum().backward()


def test_mismatched_backend_is_refused() -> None:
    rows = pack(random_rollouts(0), row_tokens=100, pad_id=PAD_ID)
    with pytest.raises(ValueError, match="attn_implementation 'flex_attention', not 'sdpa'"):
        token_logprobs(make_model(), rows, backend="flex")
    with pytest.raises(ValueError, match="attn_implementation 'sdpa', not 'eager'"):
        token_logprobs(make_model(attention="eager"), rows, backend="sdpa")
    with pytest.raises(ValueError, match="multiple of 128"):
        token_logprobs(make_model(attention="flex_attention"), rows, backend="flex")


def test_full_attention_is_required() -> None:
    for family in FAMILIES:
        require_full_attention(make_model(family).config)
    with pytest.raises(ValueError, match=r"qwen2: .* not sliding_attention"):
        require_full_attention(Qwen2Config(**SHAPE, use_sliding_window=True, max_window_layers=1))
    with pytest.raises(ValueError, match=r"qwen3_next: .* not linear_attention"):
        require_full_attention(Qwen3NextConfig())
    with pytest.raises(ValueError, match=r"mistral: .* not sliding"):
        require_full_attention(MistralConfig())
