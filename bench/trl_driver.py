"""TRL's side of `bench/trl_step.py`: steps of its GRPOTrainer on the rows that BRPO's trees unfold into.

Runs in TRL's own environment; of this project it knows nothing but the job that it is given in a file.
A line on standard input lets it take a step, after which it prints a line of JSON: seconds and tokens.

`GRPOTrainer` has no thinkings that share answers, so its `rollout_func` makes them, by what TRL itself
samples with: `generate()` of transformers on the model that is trained. That is done as fast as it goes
(in batches of like length, where TRL would put all rows into one batch, padded to the longest), and
what comes out is a row for each answer: prompt as TRL's prompt; thinking up to the cut, inserted text and
answer as its completion, with `env_mask` 0 on what was inserted. (Rows of the thinkings alone are then
not needed: what a thinking earns at each budget reaches its tokens through the rows of that budget.) A
group is the G x A rows of a prompt at a budget. All the rest is TRL's: how rows are padded, shuffled and
split, its loss, its optimiser. Nothing is left on by default that costs and is not needed (gradient
checkpointing, bfloat16, logging, checkpoints, a reference model). `transformers_continuous_batching`,
TRL's other way to sample without vLLM, took 40 times as long on a CPU.

TRL pads all rows of a step to the longest prompt and the longest completion among them. A job that says
`trim` has that mended, which TRL does not do: what is left of the difference is the trees' alone.

Dimensions: P prompts, B budgets, G thinkings per prompt, A answers per budget.
"""

# pyright: reportMissingImports=false
# What is missing where this project is checked is in TRL's environment.

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
"""Where the lines of JSON go; whatever libraries print goes elsewhere."""


class Rollouts:
    """What `GRPOTrainer` asks for completions, and for their rewards."""

    def __init__(self, job: dict[str, Any], tokenizer: Any) -> None:
        self.seconds: dict[str, float] = {}
        self.num_tokens: dict[str, int] = {}
        self.reward = 0.0
        self._job = job
        self._tokenizer = tokenizer

    def sample(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        """Rows in the order of `prompts`: for each prompt, budget, thinking and answer."""
        job, started = self._job, time.perf_counter()
        num_prompt_rows = len(job["budgets"]) * job["group_size"] * job["answers_per_budget"]
        prompts_P = [
            self._tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
            for prompt in prompts[::num_prompt_rows]
        ]
        model = trainer.accelerator.unwrap_model(trainer.model)
        thinkings = self._generate(
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
            for thinking in thinkings[number * job["group_size"] : (number + 1) * job["group_size"]]
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
            "sampled": sum(map(len, thinkings)) + sum(map(len, answers)),
            "rows": len(rows),
            "real": sum(map(len, output["prompt_ids"])) + sum(map(len, output["completion_ids"])),
            "learned": sum(map(sum, output["env_mask"])),
        }
        self.seconds["sample"] = time.perf_counter() - started
        return output

    def grade(self, answer_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
        """1 for a right answer."""
        started = time.perf_counter()
        texts = self._tokenizer.batch_decode(answer_ids, skip_special_tokens=True)
        rewards = [float(text.strip() == right) for text, right in zip(texts, answer, strict=True)]
        self.reward = sum(rewards) / len(rewards)
        self.seconds["grade"] = time.perf_counter() - started
        return rewards

    def _close(self, thinking: list[int]) -> tuple[list[int], list[int]]:
        """What is kept of a thinking, and what is inserted after it."""
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
        """A continuation of each prompt, its stop token included."""
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
                stop = next((place for place, token in enumerate(row) if token in stop_ids), len(row))
                continuations[index] = row[: stop + 1]
        return continuations


class TrimmingTrainer(trl.GRPOTrainer):
    """With rows of like length in a micro-batch, and no column that is padding in all of them."""

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs = super()._prepare_inputs(generation_batch)
        place = self._step % self.args.steps_per_generation
        if place == 0:
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
    """Waits for a turn before each step, and tells what it took."""

    def __init__(self, rollouts: Rollouts) -> None:
        self.trainer: Any = None
        self._rollouts = rollouts

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        say({"versions": {module.__name__: module.__version__ for module in (trl, transformers, torch)}})
        self._wait()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._loaded = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        ended, parts = time.perf_counter(), self._rollouts.seconds
        learn_s = ended - self._loaded - parts["sample"] - parts["grade"]
        batches = self.trainer._buffered_inputs
        padded = sum(batch[name].numel() for batch in batches for name in ("prompt_ids", "completion_ids"))
        say(
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
        self._wait()  # after the last step, too: what follows it would disturb the others' steps

    def _wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit(0)  # nobody asks for a step any more
        self._started, self._cpu_started = time.perf_counter(), time.process_time()


def say(reply: dict[str, Any]) -> None:
    """Answer with a line."""
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
