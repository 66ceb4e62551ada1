/* What each tensor is taken for, by name, shape and type; and what a model is called, by its path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "model/names.h"
#include "model/roles.h"

struct expectation {
    const char *name, *role;
    bool quantisable;
    int block;
    uint64_t ne[4]; /* {0}: 64 x 64 */
};

static void check_all(enum lq_half half, const char *architecture, const struct expectation *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct lq_tensor t = {.name = list[i].name, .half = half, .type = LQ_TYPE_F16, .ne = {64, 64, 1, 1}};
        if (list[i].ne[0] != 0) memcpy(t.ne, list[i].ne, sizeof t.ne);
        lq_role_assign(&t, architecture);
        if (strcmp(lq_role_name(t.role), list[i].role) != 0 || t.quantisable != list[i].quantisable ||
            t.block != list[i].block)
            fail_msg("%s: %s, quantisable %d, block %d", t.name, lq_role_name(t.role), t.quantisable, t.block);
    }
}

#define CHECK_ALL(half, architecture, list) check_all(half, architecture, list, sizeof(list) / sizeof(list)[0])

static void language(void **state)
{
    (void)state;
    static const struct expectation list[] = {
        {"token_embd.weight", "language.embedding", true, -1, {0}},
        {"output.weight", "language.output", true, -1, {0}},
        {"output_norm.weight", "norm", false, -1, {64, 1, 1, 1}},
        {"blk.0.attn_norm.weight", "norm", false, 0, {64, 1, 1, 1}},
        {"blk.3.attn_q_norm.weight", "norm", false, 3, {64, 8, 1, 1}},
        {"blk.17.attn_q.weight", "language.attention.q", true, 17, {0}},
        {"blk.17.attn_q.bias", "bias", false, 17, {64, 1, 1, 1}},
        {"blk.1.attn_k.weight", "language.attention.k", true, 1, {0}},
        {"blk.1.attn_v.weight", "language.attention.v", true, 1, {0}},
        {"blk.1.attn_qkv.weight", "language.attention.qkv", true, 1, {0}},
        {"blk.1.attn_output.weight", "language.attention.out", true, 1, {0}},
        {"blk.1.ffn_up.weight", "language.ffn.up", true, 1, {0}},
        {"blk.1.ffn_gate.weight", "language.ffn.gate", true, 1, {0}},
        {"blk.1.ffn_down.weight", "language.ffn.down", true, 1, {0}},
        {"blk.1.ffn_down_exps.weight", "language.ffn.down", true, 1, {64, 64, 8, 1}},
        {"blk.1.ffn_up_shexp.weight", "language.ffn.up", true, 1, {0}},
        {"blk.1.ffn_gate_inp.weight", "fixed", false, 1, {0}},
        {"blk.1.attn_kv_a_mqa.weight", "language.other", true, 1, {0}},
        {"blk.1.ssm_conv1d.weight", "fixed", false, 1, {0}},
        {"blk.1.ssm_a", "fixed", false, 1, {0}},
        {"blk.1.time_mix_w1.weight", "fixed", false, 1, {0}},
        {"blk.1.time_mix_key.weight", "language.other", true, 1, {0}},
        {"rope_freqs.weight", "fixed", false, -1, {32, 1, 1, 1}},
        {"token_types.weight", "fixed", false, -1, {0}},
        {"position_embd.weight", "position_embedding", false, -1, {0}},
        {"blk.1.ffn_up.weight", "fixed", false, 1, {64, 1, 1, 1}},
        {"blk.1.ffn_up.weight", "fixed", false, 1, {64, 64, 2, 2}},
    };
    CHECK_ALL(LQ_LANGUAGE, "llama", list);
}

static void vision(void **state)
{
    (void)state;
    static const struct expectation list[] = {
        {"v.class_embd", "class_embedding", false, -1, {64, 1, 1, 1}},
        {"v.patch_embd.weight", "patch_embedding", false, -1, {14, 14, 3, 64}},
        {"v.patch_embd.weight.1", "patch_embedding", false, -1, {14, 14, 3, 64}},
        {"v.position_embd.weight", "position_embedding", false, -1, {0}},
        {"v.pre_ln.weight", "norm", false, -1, {64, 1, 1, 1}},
        {"v.blk.2.ln1.weight", "norm", false, 2, {64, 1, 1, 1}},
        {"v.blk.2.attn_q.weight", "vision.attention.q", true, 2, {0}},
        {"v.blk.2.attn_q.bias", "bias", false, 2, {64, 1, 1, 1}},
        {"v.blk.2.attn_qkv.weight", "vision.attention.qkv", true, 2, {0}},
        {"v.blk.2.attn_out.weight", "vision.attention.out", true, 2, {0}},
        {"v.blk.2.ffn_up.weight", "vision.ffn.up", true, 2, {0}},
        {"v.blk.2.ffn_gate.weight", "vision.ffn.gate", true, 2, {0}},
        {"v.blk.2.ffn_down.weight", "vision.ffn.down", true, 2, {0}},
        {"v.blk.2.ls1.weight", "fixed", false, 2, {64, 1, 1, 1}},
        {"v.blk.1.3.conv_exp.weight", "fixed", false, 1, {3, 3, 64, 64}},
        {"mm.0.weight", "projector", true, -1, {0}},
        {"mm.1.weight", "norm", false, -1, {64, 1, 1, 1}},
        {"mm.0.weight", "fixed", false, -1, {2, 2, 64, 64}},
        {"mm.model.fc.weight", "projector", true, -1, {0}},
        {"mm.input_projection.weight", "fixed", false, -1, {0}}, /* gemma3 transposes it */
        {"mm.patch_merger.weight", "fixed", false, -1, {0}},
        {"mm.model.peg.0.weight", "fixed", false, -1, {3, 3, 1, 64}},
        {"resampler.query", "fixed", false, -1, {0}},
        {"resampler.pos_embed_k", "position_embedding", false, -1, {0}},
        {"resampler.attn.q.weight", "projector", true, -1, {0}},
        {"v.image_newline", "fixed", false, -1, {64, 1, 1, 1}},
    };
    CHECK_ALL(LQ_VISION, "clip", list);
}

static void integers_are_never_quantised(void **state)
{
    (void)state;
    struct lq_tensor t = {
        .name = "blk.0.ffn_up.weight", .half = LQ_LANGUAGE, .type = LQ_TYPE_I32, .ne = {64, 64, 1, 1}};
    lq_role_assign(&t, "llama");
    assert_false(t.quantisable);
}

static void every_role_has_a_name(void **state)
{
    (void)state;
    for (int r = 0; r < LQ_ROLES; r++) assert_non_null(lq_role_name((enum lq_role)r));
}

static void names_of_files(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"llava.gguf", "llava"},
        {"/m/llava-1.5-7b-F16.gguf", "llava-1.5-7b"},
        {"mmproj-llava-1.5-7b-f16.gguf", "llava-1.5-7b"},
        {"llava-Q4_K_M.gguf", "llava"},
        {"llava.Q4_K_M.gguf", "llava"},
        {"llava-iq2_xxs.gguf", "llava"},
        {"llava-MXFP4_MOE.gguf", "llava"},
        {"llava-BF16.gguf", "llava"},
        {"llava-layered.gguf", "llava"},
        {"llava-4bit.gguf", "llava"},
        {"llava-mixed.gguf", "llava"},
        {"llava-custom.gguf", "llava"},
        {"llava-customary.gguf", "llava-customary"},
        {"llava-7b.gguf", "llava-7b"},
        {"qwen2.5-vl.gguf", "qwen2.5-vl"},
        {"Q8_0.gguf", "Q8_0"},
        {"f16.gguf", "f16"},
        {"noending", "noending"},
    };
    char name[64];
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        lq_name_of_file(pairs[i][0], name, sizeof name);
        assert_string_equal(name, pairs[i][1]);
    }
}

static void names_of_folders(void **state)
{
    (void)state;
    char name[64];
    lq_name_of_folder(LQ_DEMO "/model/", name, sizeof name);
    assert_string_equal(name, "model");
    lq_name_of_folder(LQ_DEMO "/model/.", name, sizeof name);
    assert_string_equal(name, "model");
    lq_name_of_folder("/", name, sizeof name);
    assert_string_equal(name, "model");
    static const char *const hub[][2] = {
        {"/h/models--llava-hf--llava-1.5-7b-hf/snapshots/8c85ab", "llava-1.5-7b-hf"},
        {"/h/models--llava-hf--llava-1.5-7b-hf/snapshots/8c85ab//", "llava-1.5-7b-hf"},
        {"models--alone/snapshots/main", "alone"},
        {"/h/models--/snapshots/main", "main"},
        {"/h/datasets--a--b/snapshots/main", "main"},
        {"/snapshots/main", "main"},
        {"snapshots/main", "main"},
        {"/h/models--a--b/snapshots", "snapshots"},
        {"/h/models--a--b/refs/main", "main"},
    };
    for (size_t i = 0; i < sizeof hub / sizeof hub[0]; i++) {
        lq_name_of_folder(hub[i][0], name, sizeof name);
        assert_string_equal(name, hub[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language),
        cmocka_unit_test(vision),
        cmocka_unit_test(integers_are_never_quantised),
        cmocka_unit_test(every_role_has_a_name),
        cmocka_unit_test(names_of_files),
        cmocka_unit_test(names_of_folders),
    };
    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
