"""TRL's side of `trl_step.py`: steps of its GRPOTrainer on the rows that BRPO's trees unfold into.

Runs in TRL's own environment and knows nothing of this project except the job file that it is given. For each
line on standard input it takes a step, and then prints a line of JSON: seconds and tokens.

`GRPOTrainer` has no rollouts whose answers share their thinking. Its `rollout_func` therefore makes them,
with the sampler that TRL itself uses: `generate()` of transformers on the trained model. It does so in the
fastest way, in batches of similar length, where TRL would pad all rows to the longest in one batch. The
result is one row for each answer. Its prompt is TRL's prompt; its completion is the truncated thinking, the
inserted text and the answer, with `env_mask` 0 on the inserted text. (Rows of the thinking alone are not
needed: the rows of a budget carry what the thinking earns at that budget.) A group is the G x A rows of a
prompt at a budget. The rest is TRL's: padding, shuffling and splitting of rows, the loss and the optimiser.
Expensive defaults that are not needed are off (gradient checkpointing, bfloat16, logging, checkpoints, a
reference model). `transformers_continuous_batching`, TRL's other way to sample without vLLM, took 40 times as
long on a CPU.

TRL pads all rows of a step to the longest prompt and the longest completion of the step. A job with `trim`
sorts and trims the rows first, which TRL does not do; the remaining difference is due to the trees alone.

Dimensions: P prompts, B budgets, G rollouts per prompt, A answers per budget.
"""

# pyright: reportMissingImports=false
# The imports that are missing in this project's environment are in TRL's.

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, TrainerCallback

REPLIES = sys.stdout
"""Receives the lines of JSON; all that libraries print goes to standard error."""


class Rollouts:
    """Completions and rewards for `GRPOTrainer`."""

    def __init__(self, job: dict[str, Any], tokenizer: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.num_tokens: dict[str, int] = {}
        self.reward = 0.0
        self._job = job
        self._tokenizer = tokenizer

    def sample(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        """Rows in the order of `prompts`: for each prompt, budget, rollout and answer."""
        job, started = self._job, time.perf_counter()
        num_prompt_rows = len(job["budgets"]) * job["group_size"] * job["answers_per_budget"]
        prompts_P = [
            self._tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
            for prompt in prompts[::num_prompt_rows]
        ]
        model = trainer.accelerator.unwrap_model(trainer.model)
        sampled = self._generate(
            model,
            [prompt_ids for prompt_ids in prompts_P for _ in range(job["group_size"])],
            max_tokens=job["budgets"][-1],
            stop_ids=[job["think_end_id"], *job["eos_ids"]],
        )
        self.seconds["sample_thinking"] = time.perf_counter() - started
        heads = [
            (prompt_ids, *self._close(thinking[:budget]))
            for number, prompt_ids in enumerate(prompts_P)
            for budget in job["budgets"]
            for thinking in sampled[number * job["group_size"] : (number + 1) * job["group_size"]]
            for _ in range(job["answers_per_budget"])
        ]
        answers = self._generate(
            model,
            [[*prompt_ids, *thinking, *inserted] for prompt_ids, thinking, inserted in heads],
            max_tokens=job["answer_tokens"],
            stop_ids=job["eos_ids"],
        )
        rows = list(zip(heads, answers, strict=True))
        output = {
            "prompt_ids": [prompt_ids for (prompt_ids, _, _), _ in rows],
            "completion_ids": [[*thinking, *inserted, *answer] for (_, thinking, inserted), answer in rows],
            "env_mask": [
                [1] * len(thinking) + [0] * len(inserted) + [1] * len(answer)
                for (_, thinking, inserted), answer in rows
            ],
            "logprobs": None,
            "answer_ids": answers,
        }
        self.num_tokens = {
            "prompt": sum(map(len, prompts_P)),
            "sampled": sum(map(len, sampled)) + sum(map(len, answers)),
            "rows": len(rows),
            "real": sum(map(len, output["prompt_ids"])) + sum(map(len, output["completion_ids"])),
            "learned": sum(map(sum, output["env_mask"])),
        }
        self.seconds["sample"] = time.perf_counter() - started
        return output

    def grade(self, answer_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
        """Rewards: 1 for a right answer, 0 for a wrong answer."""
        started = time.perf_counter()
        texts = self._tokenizer.batch_decode(answer_ids, skip_special_tokens=True)
        rewards = [float(text.strip() == right) for text, right in zip(texts, answer, strict=True)]
        self.reward = sum(rewards) / len(rewards)
        self.seconds["grade"] = time.perf_counter() - started
        return rewards

    def _close(self, thinking: list[int]) -> tuple[list[int], list[int]]:
        """The kept part of the thinking, and the tokens inserted after it."""
        job = self._job
        if thinking[-1] == job["think_end_id"]:
            return thinking, job["lead_in_ids"]
        closing = [job["think_end_id"], *job["lead_in_ids"]]
        if thinking[-1] in job["eos_ids"]:
            return thinking[:-1], closing
        return thinking, [*job["truncation_ids"], *closing]

    def _generate(
        self, model: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int, stop_ids: list[int]
    ) -> list[list[int]]:
        """Sample a continuation of each prompt, its stop token included."""
        pad_id = self._tokenizer.pad_token_id
        config = GenerationConfig(
            max_new_tokens=max_tokens,
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            eos_token_id=stop_ids,
            pad_token_id=pad_id,
            disable_compile=True,
        )
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        continuations: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(order), self._job["generation_batch"]):
            batch = order[start : start + self._job["generation_batch"]]
            longest = len(prompts[batch[0]])
            padding = [longest - len(prompts[index]) for index in batch]
            rows = zip(padding, batch, strict=True)
            ids = torch.tensor([[pad_id] * num + list(prompts[index]) for num, index in rows])
            mask = torch.tensor([[0] * num + [1] * (longest - num) for num in padding])
            with torch.no_grad():
                output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            for index, row in zip(batch, output[:, longest:].tolist(), strict=True):
                stop = next((end for end, token in enumerate(row) if token in stop_ids), len(row))
                continuations[index] = row[: stop + 1]
        return continuations


class TrimmingTrainer(trl.GRPOTrainer):
    """Puts rows of similar length into a micro-batch, and drops columns that are padding in all of them."""

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs = super()._prepare_inputs(generation_batch)
        if self._step % self.args.steps_per_generation == 0:
            self._buffered_inputs = trimmed(self._buffered_inputs)
            inputs = self._buffered_inputs[0]
        return inputs


def trimmed(batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows, the longest first, in as many micro-batches."""
    rows = {
        name: torch.cat([batch[name] for batch in batches])
        for name, value in batches[0].items()
        if isinstance(value, torch.Tensor) and value.dim() > 0
    }
    order = (rows["prompt_mask"].sum(1) + rows["completion_mask"].sum(1)).argsort(descending=True)
    result: list[dict[str, Any]] = []
    for batch, indices in zip(batches, order.chunk(len(batches)), strict=True):
        part = {name: value[indices] for name, value in rows.items()}
        prompt, completion = (int(part[f"{name}_mask"].sum(1).max()) for name in ("prompt", "completion"))
        for name in ("prompt_ids", "prompt_mask"):  # padded on the left
            part[name] = part[name][:, part[name].shape[1] - prompt :]
        for name in ("completion_ids", "completion_mask", "tool_mask"):
            part[name] = part[name][:, :completion]
        result.append(batch | part)
    return result


class Turns(TrainerCallback):
    """Waits for a line on standard input before each step, and reports the step's time and tokens."""

    def __init__(self, rollouts: Rollouts) -> None:
        self.trainer: Any = None
        self._rollouts = rollouts

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        send({"versions": {module.__name__: module.__version__ for module in (trl, transformers, torch)}})
        self._wait()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._loaded = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        ended, parts = time.perf_counter(), self._rollouts.seconds
        learn_s = ended - self._loaded - parts["sample"] - parts["grade"]
        batches = self.trainer._buffered_inputs
        padded = sum(batch[name].numel() for batch in batches for name in ("prompt_ids", "completion_ids"))
        send(
            {
                "seconds": {
                    "total": ended - self._started,
                    "load": self._loaded - self._started,
                    **parts,
                    "learn": learn_s,
                },
                "cpu_s": time.process_time() - self._cpu_started,
                "reward": self._rollouts.reward,
                "tokens": {**self._rollouts.num_tokens, "padded": padded},
            }
        )
        self._wait()  # also after the last step, whose clean-up would disturb steps of other processes

    def _wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit(0)  # standard input was closed: no more steps
        self._started, self._cpu_started = time.perf_counter(), time.process_time()


def send(reply: dict[str, Any]) -> None:
    """Print a line of JSON to the parent process."""
    print(json.dumps(reply), file=REPLIES, flush=True)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout = sys.stderr
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    rows = [
        {"prompt": [{"role": "user", "content": problem["prompt"]}], "answer": problem["answer"]}
        for problems in job["steps"]
        for problem in problems
        for _ in job["budgets"]
    ]
    num_generations = job["group_size"] * job["answers_per_budget"]
    num_rows = num_generations * len(rows) // len(job["steps"])
    config = trl.GRPOConfig(
        output_dir=job["folder"],
        max_steps=len(job["steps"]),
        per_device_train_batch_size=job["micro_batch"],
        gradient_accumulation_steps=num_rows // job["micro_batch"],
        num_generations=num_generations,
        num_iterations=1,
        max_completion_length=job["max_rollout_tokens"],
        shuffle_dataset=False,  # the dataset is in the order of the steps
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.0,
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        max_grad_norm=job["max_grad_norm"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    rollouts = Rollouts(job, tokenizer)
    turns = Turns(rollouts)
    trainer_class = TrimmingTrainer if job["trim"] else trl.GRPOTrainer
    turns.trainer = trainer_class(
        model=model,
        reward_funcs=rollouts.grade,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollouts.sample,
        callbacks=[turns],
    )
    turns.trainer.train()


if __name__ == "__main__":
    main()
