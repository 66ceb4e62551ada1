"""For each tensor the type that llama-quantize chooses: every file type, with and without importance data.

Runs `llama-quantize --dry-run` of the pinned llama.cpp, found through LQ_LLAMA_BIN, beside `llava-quantize --dry-run
--json` on files that hold only a header (both look at names and shapes alone). Where the peer is not built,
tests/unit/test_plan_mix.c still compares with what it chose, recorded in tests/golden/mix_choices.json; this records it
again:

    LQ_LLAMA_BIN=FOLDER python3 -B tests/cli/test_types_like_llama_quantize.py record [CASE...]
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

import models
from harness import BIN, DEMO, SANITIZE

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "mix_choices.json")
PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-quantize")
MIXES = ("Q1_0 Q2_0 Q4_0 Q4_1 MXFP4_MOE Q5_0 Q5_1 IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M TQ1_0 TQ2_0 Q2_K "
         "Q2_K_S IQ3_XXS IQ3_S IQ3_M IQ3_XS Q3_K_S Q3_K_M Q3_K_L IQ4_NL IQ4_XS Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
         "Q8_0").split()
LETTERS = {t: chr(ord("a") + i) for i, t in enumerate(
    "f32 f16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_K q3_K q4_K q5_K q6_K iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq1_s iq1_m iq4_nl "
    "iq4_xs tq1_0 tq2_0 mxfp4 q1_0 q2_0".split())}


def llama_keys(architecture, blocks, heads, kv_heads, width, **more):
    keys = {"block_count": blocks, "context_length": 512, "embedding_length": width, "feed_forward_length": 1280,
            "attention.head_count": heads, "attention.head_count_kv": kv_heads,
            "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5, **more}
    return {f"{architecture}.{k}": v for k, v in keys.items()}


def llama(blocks, heads, kv_heads, *, width=512, ff=1280, tied=False, experts=0, architecture="llama", parts=None,
          rest=(), **more):
    """A case: keys, tensors outside blocks, and tensors of each block ("#" is its number)."""
    kv = width // heads * (max(kv_heads) if isinstance(kv_heads, list) else kv_heads)
    tensors = {"token_embd.weight": (width, 1000), "output_norm.weight": (width,), **dict(rest)}
    if not tied:
        tensors["output.weight"] = (width, 1000)
    block = {"attn_norm.weight": (width,), "attn_q.weight": (width, width), "attn_k.weight": (width, kv),
             "attn_v.weight": (width, kv), "attn_output.weight": (width, width), "ffn_up.weight": (width, ff),
             "ffn_gate.weight": (width, ff), "ffn_down.weight": (ff, width)}
    if experts:
        more |= {"expert_count": experts, "expert_used_count": 2}
        block = {n: s for n, s in block.items() if not n.startswith("ffn")}
        block |= {"ffn_gate_inp.weight": (width, experts), "ffn_up_exps.weight": (width, ff, experts),
                  "ffn_gate_exps.weight": (width, ff, experts), "ffn_down_exps.weight": (ff, width, experts),
                  "ffn_down_shexp.weight": (ff, width), "ffn_gate_shexp.weight": (width, ff)}
    if parts:
        block = parts if isinstance(parts, dict) else {n: s for n, s in block.items() if n.split(".")[0] in parts}
    return {"architecture": architecture, "keys": llama_keys(architecture, blocks, heads, kv_heads, width, **more),
            "rest": tensors, "blocks": blocks, "block": {"blk.#." + n: s for n, s in block.items()}}


def clip(blocks, width, ff, *, fused=False, rest=()):
    """A vision file; the projector of a LLaVA unless `rest` names another."""
    tensors = {"v.class_embd": (width,), "v.patch_embd.weight": (14, 14, 3, width),
               "v.position_embd.weight": (width, 65), "v.pre_ln.weight": (width,), "v.post_ln.weight": (width,),
               "mm.0.bias": (512,)}
    tensors |= dict(rest) or {"mm.0.weight": (width, 512), "mm.2.weight": (512, 512)}
    block = {"attn_out.weight": (width, width), "attn_out.bias": (width,), "ffn_up.weight": (width, ff),
             "ffn_up.bias": (ff,), "ffn_down.weight": (ff, width), "ln1.weight": (width,)}
    block |= {"attn_qkv.weight": (width, 3 * width)} if fused else {f"attn_{p}.weight": (width, width) for p in "qkv"}
    return {"architecture": "clip", "keys": {}, "rest": tensors, "blocks": blocks,
            "block": {"v.blk.#." + n: s for n, s in block.items()}}


MLA = {"attention.key_length_mla": 96, "attention.value_length_mla": 64, "attention.kv_lora_rank": 256,
       "attention.q_lora_rank": 256, "ssm.conv_kernel": 4, "kda.head_dim": 64, "kda.gate_lower_bound": -5.0,
       "expert_shared_count": 1,
       "leading_dense_block_count": 1, "expert_weights_scale": 1.0, "expert_weights_norm": True,
       "expert_gating_func": 2, "expert_shared_feed_forward_length": 1280, "expert_feed_forward_length": 1280}
GLM = {"attention.indexer.head_count": 4, "attention.indexer.key_length": 64, "attention.indexer.top_k": 8,
       "attention.indexer.kpool": 2, "hyper_connection.count": 4, "hyper_connection.sinkhorn_iterations": 3,
       "hyper_connection.epsilon": 1e-6}
MLA_PARTS = {"attn_q_a.weight": (512, 256), "attn_q_b.weight": (256, 768), "attn_k_b.weight": (64, 256, 8),
             "attn_v_b.weight": (256, 64, 8), "attn_kv_b.weight": (256, 1024), "ssm_f_a.weight": (512, 64),
             "ffn_up_exps.weight": (512, 1280, 16), "ffn_down_exps.weight": (1280, 512, 16),
             "ffn_down.weight": (1280, 512)}
KEPT = ("position_embd token_types per_layer_model_proj mm.a.code_embd v.a.rvq.codebook v.sam.pos_embd "
        "v.sam.neck.0 v.sam.net_2 v.blk.0.rel_pos v.x.patch_embd v.x.patch_merger v.x.position_embd "
        "v.x.attn_norm blk.0.altup_proj blk.0.laurel_l blk.1.ssm_conv1d blk.1.shortconv.conv blk.1.attn_rel_b "
        "blk.1.ffn_gate_inp blk.1.ffn_gate_tid2eid blk.1.indexer.k_proj blk.1.indexer.q_proj "
        "blk.1.time_mix_first blk.1.time_mix_w0 blk.1.time_mix_w1 blk.1.time_mix_w2 blk.1.time_mix_v0 "
        "blk.1.time_mix_v1 blk.1.time_mix_v2 blk.1.time_mix_a0 blk.1.time_mix_a1 blk.1.time_mix_a2 "
        "blk.1.time_mix_g1 blk.1.time_mix_g2 blk.1.time_mix_decay_w1 blk.1.time_mix_decay_w2 "
        "blk.1.time_mix_lerp_fused").split()
GLM_KEPT = ("indexer.attn_q_b indexer.attn_k indexer.proj indexer_compressor_gate indexer_compressor_ape "
            "ssm_f_a ssm_f_b ssm_g_a ssm_g_b ssm_beta attn_kv_a_mqa attn_k_b attn_v_b hc_attn_fn").split()
CASES = {
    "plain": llama(32, 8, 8),
    "grouped": llama(32, 8, 2, parts=("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down")),
    "tied": llama(22, 8, 1, tied=True),
    "experts8": llama(32, 8, 2, experts=8),
    "experts4": llama(16, 8, 4, experts=4,
                      parts=("attn_v", "attn_k", "attn_output", "ffn_down_exps", "ffn_down_shexp")),
    "seventy": llama(80, 8, 1, parts=("attn_v", "ffn_down")),
    "seventy_by_two": llama(80, 8, 4, parts=("attn_v",)),
    "sixty_five": llama(80, 8, 8, parts=("attn_v",)),
    "array_of_heads": llama(4, 8, [2, 8, 8, 8]),
    "odd_rows": llama(12, 16, 16, width=1152, ff=4304),
    "narrow_rows": llama(2, 5, 5, width=80, ff=176, tied=True),
    "rows_of_32": llama(8, 4, 1, width=544, ff=1120),
    "falcon": llama(60, 8, 1, architecture="falcon", parts={
        "attn_qkv.weight": (512, 640), "attn_output.weight": (512, 512), "ffn_up.weight": (512, 1280),
        "ffn_down.weight": (1280, 512)}),
    "qwen2": llama(80, 8, 8, architecture="qwen2", parts=("attn_v", "ffn_gate")),
    **{name: llama(blocks, 8, 4, architecture=name, parts=("attn_v",))
       for name, blocks in (("llama-embed", 80), ("deci", 80), ("olmo", 80), ("jais2", 68))},
    "bailingmoe3": llama(4, 8, 8, architecture="bailingmoe3", parts=MLA_PARTS, expert_count=16, expert_used_count=2,
                         **MLA),
    "glm5_next": llama(4, 8, 8, architecture="glm5-next", expert_count=16, expert_used_count=2, **MLA, **GLM,
                       parts={**MLA_PARTS, "nextn.eh_proj.weight": (1024, 512),
                              **{n + ".weight": (512, 64) for n in GLM_KEPT}}),
    "small_tables": llama(2, 8, 8, parts=("attn_q",), rest={
        **{n + ".weight": (512, 64) for n in KEPT}, "per_layer_token_embd.weight": (512, 1000)}),
    "clip": clip(23, 512, 1280),
    "clip_siglip": clip(27, 1152, 4304, rest={"mm.input_projection.weight": (512, 1152), "mm.1.weight": (1152, 512)}),
    "clip_fused": clip(8, 1280, 3420, fused=True),
}


def tensors_of(case):
    """(name, shape) in file order."""
    out = list(case["rest"].items())
    for b in range(case["blocks"]):
        out += [(name.replace("#", str(b)), shape) for name, shape in case["block"].items()]
    return out


def f32_rows(shape):
    return len(shape) < 2


def write_header(path, keys, infos):
    """A GGUF file whose data is a hole. infos: (name, shape, type id, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(keys))
    head += b"".join(models.gguf_string(k) + models.gguf_value(v) for k, v in keys.items())
    at = 0
    for name, shape, kind, size in infos:
        head += models.gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, at)
        at += size + -size % 32
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32))
        f.truncate(f.tell() + at)


def count(shape):
    n = 1
    for s in shape:
        n *= s
    return n


def write_case(path, case):
    keys = {"general.architecture": case["architecture"], **case["keys"]}
    if case["architecture"] == "clip":
        keys |= {"clip.has_vision_encoder": True, "clip.vision.block_count": case["blocks"],
                 "clip.projector_type": "mlp"}
    write_header(path, keys, [(n, s, models.F32 if f32_rows(s) else models.F16, count(s) * (4 if f32_rows(s) else 2))
                              for n, s in tensors_of(case)])


def write_imatrix(path, tensors):
    """Importance data for every tensor that a model multiplies by."""
    keys = {"general.type": "imatrix", "imatrix.datasets": ["none"], "imatrix.chunk_count": 1,
            "imatrix.chunk_size": 512}
    data = {}
    for name, shape in tensors:
        if len(shape) not in (2, 3):
            continue
        matrices = shape[2] if len(shape) > 2 else 1
        sums, ones = (struct.pack("<f", v) * n for v, n in ((2.0, shape[0] * matrices), (1.0, matrices)))
        data[name + ".in_sum2"] = models.Tensor(models.F32, (shape[0], matrices), sums)
        data[name + ".counts"] = models.Tensor(models.F32, (1, matrices), ones)
    models.write_gguf(path, keys, data)


# What llama-quantize quantises and we never do: Gemma 3's graph transposes this matrix, and garbles a quantised one.
EXCEPTIONS = {"mm.input_projection.weight": "f16"}
LINE = re.compile(r"^\[ *\d+/ *\d+\] (\S+) +- \[[^]]*\], type = *(\S+), size = [^(\n]*(?:\((\S+)\))?$", re.M)


def ask_peer(path, mix, imatrix):
    """(types by name, whether it would demand importance data); None where it refuses, "abort" where it aborts."""
    args = [PEER, "--dry-run", *(["--imatrix", imatrix] if imatrix else []), path, mix]
    done = subprocess.run(args, capture_output=True, text=True, errors="replace", check=False)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        return ("abort" if done.returncode < 0 else None), False
    return {n: (to or kept) for n, kept, to in LINE.findall(text)}, "will require an imatrix" in text


def ask_ours(path, mix, imatrix):
    args = [BIN, path, path + ".out", mix, "--dry-run", "--json", "--no-pad"]
    args += ["--imatrix", imatrix] if imatrix else []
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stderr
    return {e["name"]: e["to"] for e in json.loads(done.stdout)["plan"]}, done.stderr


def spell(tensors, types):
    """One letter for each tensor."""
    return types if not isinstance(types, dict) else "".join(LETTERS[types[n]] for n, _ in tensors)


def choices_of(case, folder):
    """For each file type: the types without importance data, those with ("same"), and whether the first demand them."""
    tensors, path, imatrix = tensors_of(case), os.path.join(folder, "m.gguf"), os.path.join(folder, "i.gguf")
    write_case(path, case)
    write_imatrix(imatrix, tensors)
    out = {}
    for mix in MIXES:
        (types, demands), (others, _) = ask_peer(path, mix, None), ask_peer(path, mix, imatrix)
        first, second = spell(tensors, types), spell(tensors, others)
        out[mix] = [first, "same" if first == second else second, demands]
    return out


def record(names):
    cases = {}
    if names:
        with open(GOLDEN, encoding="utf-8") as f:
            cases = json.load(f)["cases"]
    with tempfile.TemporaryDirectory() as folder:
        for name in names or CASES:
            cases[name] = {**CASES[name], "choices": choices_of(CASES[name], folder)}
    with open(GOLDEN, "w", encoding="utf-8") as f:
        f.write('{"letters": ' + json.dumps({v: k.lower() for k, v in LETTERS.items()}) + ',\n"cases": {\n')
        f.write(",\n".join(f'"{name}": ' + as_lines(cases[name]) for name in CASES) + "\n}}\n")


def as_lines(case):
    """A case with one line for each file type."""
    head = json.dumps({k: v for k, v in case.items() if k != "choices"})[:-1]
    lines = [f'"{mix}": {json.dumps(types)}' for mix, types in case["choices"].items()]
    return head + ', "choices": {\n  ' + ",\n  ".join(lines) + "}}"


@unittest.skipIf(SANITIZE, "unit.test_plan_mix has the same code choose types for more models than these")
@unittest.skipUnless(os.access(PEER, os.X_OK), "LQ_LLAMA_BIN names no folder with llama-quantize: no peer to ask")
class TypesLikeLlamaQuantize(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="lq-types-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def compare(self, theirs, demands, ours, message):
        if theirs is None or demands:
            self.assertIsNone(ours, "the peer refuses")
            self.assertIn("importance data" if demands else "columns do not divide", message)
        elif theirs != "abort":  # it aborts on vision files where it wants to know the number of heads
            self.assertEqual(ours, {n: EXCEPTIONS.get(n, t.lower()) for n, t in theirs.items()}, message)

    def check_file(self, path, tensors):
        imatrix = os.path.join(self.dir, "imatrix.gguf")
        write_imatrix(imatrix, tensors)
        wishes = [(mix, data) for mix in MIXES for data in (None, imatrix)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            theirs = list(pool.map(lambda w: ask_peer(path, *w), wishes))
            ours = list(pool.map(lambda w: ask_ours(path, *w), wishes))
        for (mix, data), (types, demands), answer in zip(wishes, theirs, ours):
            with self.subTest(file=os.path.basename(path), mix=mix, imatrix=data is not None):
                self.compare(types, demands and data is None, *answer)

    def check_case(self, name):
        path = os.path.join(self.dir, name + ".gguf")
        write_case(path, CASES[name])
        self.check_file(path, tensors_of(CASES[name]))

    def test_golden_is_what_the_peer_chooses(self):
        with open(GOLDEN, encoding="utf-8") as f:
            recorded = json.load(f)["cases"]
        self.assertEqual(list(recorded), list(CASES))
        for name in ("plain", "clip"):
            path = os.path.join(self.dir, "g.gguf")
            write_case(path, CASES[name])
            for mix in ("Q4_K_M", "IQ4_XS", "Q5_0"):
                types, demands = ask_peer(path, mix, None)
                self.assertEqual(recorded[name]["choices"][mix][::2], [spell(tensors_of(CASES[name]), types), demands])

    def test_demo(self):
        folder = os.path.join(self.dir, "f16")
        subprocess.run([BIN, "convert", os.path.join(DEMO, "model"), folder, "f16", "--quiet"], check=True)
        for file in sorted(os.listdir(folder)):
            alone = os.path.join(self.dir, "alone-" + file)
            os.mkdir(alone)
            path = shutil.move(os.path.join(folder, file), alone)
            _, tensors = models.read_gguf(path)
            self.check_file(path, [(n, t.ne) for n, t in tensors.items()])


for case_name in ("grouped", "experts8", "clip_siglip"):
    setattr(TypesLikeLlamaQuantize, "test_" + case_name, lambda self, name=case_name: self.check_case(name))

if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(sys.argv[2:])
    else:
        unittest.main()
