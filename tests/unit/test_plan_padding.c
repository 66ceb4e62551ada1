/* Which towers a plan widens, by how much, and which it leaves alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "llava_quantize/plan.h"
#include "plan/choices.h"
#include "plan/tower.h"
#include "source/kv.h"

enum { BLOCKS = 16, PARTS = 7, TENSORS = BLOCKS * PARTS };

struct wish {
    uint64_t width, hidden;
    bool gate, no_bias, swapped, odd_block; /* odd_block: the last one is wider than the others */
};

/* A tower of feed-forwards and one attention matrix each. */
struct made {
    char names[TENSORS][48];
    struct lq_tensor tensors[TENSORS];
    struct lq_kvs kvs;
    struct lq_model_half half;
    struct lq_model model;
};

static void add(struct made *m, int block, const char *part, enum lq_role role, uint64_t columns, uint64_t rows)
{
    size_t i = m->half.n_tensors++;
    bool bias = role == LQ_ROLE_BIAS;
    enum lq_type type = bias ? LQ_TYPE_F32 : LQ_TYPE_F16;
    snprintf(m->names[i], sizeof m->names[i], "v.blk.%d.%s", block, part);
    m->tensors[i] = (struct lq_tensor){.name = m->names[i],
                                       .half = LQ_VISION,
                                       .role = role,
                                       .block = block,
                                       .quantisable = !bias,
                                       .type = type,
                                       .keep = type,
                                       .n_dims = bias ? 1 : 2,
                                       .ne = {columns, rows, 1, 1},
                                       .rows = rows,
                                       .bytes = rows * lq_format_row_bytes(type, columns)};
}

static void add_block(struct made *m, int block, const struct wish *w, uint64_t hidden)
{
    const char *first = w->swapped ? "ffn_down" : "ffn_up", *second = w->swapped ? "ffn_up" : "ffn_down";
    char name[32];
    add(m, block, "attn_q.weight", LQ_ROLE_VISION_ATTENTION_Q, w->width, w->width);
    snprintf(name, sizeof name, "%s.weight", first);
    add(m, block, name, LQ_ROLE_VISION_FFN_UP, w->width, hidden);
    snprintf(name, sizeof name, "%s.weight", second);
    add(m, block, name, LQ_ROLE_VISION_FFN_DOWN, hidden, w->width);
    if (w->gate) add(m, block, "ffn_gate.weight", LQ_ROLE_VISION_FFN_GATE, w->width, hidden);
    if (w->no_bias) return;
    snprintf(name, sizeof name, "%s.bias", first);
    add(m, block, name, LQ_ROLE_BIAS, hidden, 1);
    snprintf(name, sizeof name, "%s.bias", second);
    add(m, block, name, LQ_ROLE_BIAS, w->width, 1);
    if (w->gate) add(m, block, "ffn_gate.bias", LQ_ROLE_BIAS, hidden, 1);
}

static struct made *make(const struct wish *w)
{
    struct made *m = calloc(1, sizeof *m);
    assert_non_null(m);
    struct lq_error err;
    const struct {
        const char *key;
        uint64_t value;
    } keys[] = {{"clip.vision.embedding_length", w->width},
                {LQ_TOWER_HIDDEN_KEY, w->hidden},
                {"clip.vision.block_count", BLOCKS}};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(lq_kvs_set_u32(&m->kvs, keys[i].key, (uint32_t)keys[i].value, &err), LQ_OK);
    m->half = (struct lq_model_half){
        .half = LQ_VISION, .path = "mmproj.gguf", .architecture = "clip", .kvs = &m->kvs, .tensors = m->tensors};
    for (int i = 0; i < BLOCKS; i++) add_block(m, i, w, w->hidden + 16 * (w->odd_block && i == BLOCKS - 1));
    m->model = (struct lq_model){.path = "pair", .name = "pair", .source = "pair", .half = {&m->half, NULL}};
    return m;
}

static void drop(struct made *m)
{
    lq_kvs_release(&m->kvs);
    free(m);
}

static struct lq_plan *plan_with(const struct made *m, const struct lq_plan_request *request)
{
    struct lq_plan *plan = NULL;
    struct lq_error err = {0};
    if (lq_plan_build(&plan, &m->model, request, &err) != LQ_OK) fail_msg("%s", err.message);
    return plan;
}

static const struct lq_plan_entry *entry_of(const struct lq_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_entries; i++)
        if (strcmp(plan->entries[i].tensor->name, name) == 0) return &plan->entries[i];
    fail_msg("no %s", name);
    return NULL;
}

/* The hidden size that every tensor of the plan agrees on. */
static uint64_t hidden_of(const struct made *m, const struct lq_plan *plan, const struct wish *w)
{
    uint64_t hidden = 0;
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct lq_plan_entry *e = &plan->entries[i];
        assert_ptr_equal(e->tensor, &m->tensors[i]);
        assert_int_equal(e->rows, e->ne[1] * e->ne[2] * e->ne[3]);
        assert_int_equal(e->bytes, e->rows * lq_format_row_bytes(e->type, e->ne[0]));
        for (int d = 0; d < 4; d++) {
            if (e->tensor->ne[d] != w->hidden) {
                assert_int_equal(e->ne[d], e->tensor->ne[d]);
                continue;
            }
            if (hidden == 0) hidden = e->ne[d];
            assert_int_equal(e->ne[d], hidden);
            assert_int_equal(strncmp(e->reason, "padded ", 7) == 0, e->ne[d] != w->hidden);
        }
    }
    return hidden;
}

static void sizes_follow_the_types(void **state)
{
    (void)state;
    static const struct {
        struct wish wish;
        const char *spec;
        uint64_t hidden;
    } cases[] = {
        {{1152, 4304, false, false, false, false}, "q4_0", 4320},
        {{1152, 4304, false, false, false, false}, "q8_0", 4320},
        {{1152, 4304, false, false, false, false}, "q4_k", 4352},
        {{1152, 4304, false, false, false, false}, "Q4_K_M", 4352},
        {{1152, 4304, false, false, false, false}, "layered", 4352},
        {{1152, 4304, false, false, false, false}, "4", 4352},
        {{1152, 4304, false, false, false, false}, "f16", 4304},
        {{1152, 4304, false, false, false, false}, "copy", 4304},
        {{1152, 4320, false, false, false, false}, "q4_0", 4320},
        {{1152, 4352, false, false, false, false}, "q4_k", 4352},
        {{256, 1040, false, false, false, false}, "q8_0", 1056},
        {{256, 1040, true, false, false, false}, "q4_k", 1280},   /* q8_0 for f16 saves more than 240 columns cost */
        {{256, 1040, false, true, false, false}, "q4_0", 1056},   /* no biases */
        {{256, 1040, false, false, true, false}, "q4_0", 1056},   /* an old file */
        {{256, 1040, false, false, false, true}, "q4_0", 1040},   /* blocks that differ */
        {{1056, 1040, false, false, false, false}, "q4_0", 1040}, /* would look like an old file */
        {{256, 16, false, false, false, false}, "q4_k", 16},      /* sixteen times as large */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made *m = make(&cases[i].wish);
        struct lq_plan *plan = plan_with(m, &(struct lq_plan_request){.spec = cases[i].spec});
        uint64_t hidden = hidden_of(m, plan, &cases[i].wish);
        if (hidden != cases[i].hidden) fail_msg("%s, case %zu: %llu", cases[i].spec, i, (unsigned long long)hidden);
        lq_plan_free(plan);
        drop(m);
    }
}

static void no_padding_when_told(void **state)
{
    (void)state;
    const struct wish wish = {.width = 1152, .hidden = 4304};
    struct made *m = make(&wish);
    struct lq_plan *plan = plan_with(m, &(struct lq_plan_request){.spec = "Q4_K_M", .no_padding = true});
    assert_int_equal(hidden_of(m, plan, &wish), 4304);
    assert_int_equal(entry_of(plan, "v.blk.0.ffn_down.weight")->type, LQ_TYPE_F16);
    assert_int_equal(entry_of(plan, "v.blk.5.ffn_up.weight")->type, LQ_TYPE_Q5_0); /* llama-quantize's fallback */
    lq_plan_free(plan);
    drop(m);
}

/* In a padded tower the first and last blocks get more bits, and every third between: not all, as llama-quantize has
 * it, which does not count them. */
static void a_mix_counts_the_blocks(void **state)
{
    (void)state;
    const struct wish wish = {.width = 1152, .hidden = 4304};
    struct made *m = make(&wish);
    struct lq_plan *plan = plan_with(m, &(struct lq_plan_request){.spec = "Q4_K_M"});
    static const struct {
        const char *name;
        enum lq_type type;
    } expected[] = {{"v.blk.0.ffn_down.weight", LQ_TYPE_Q6_K},  {"v.blk.1.ffn_down.weight", LQ_TYPE_Q6_K},
                    {"v.blk.2.ffn_down.weight", LQ_TYPE_Q4_K},  {"v.blk.4.ffn_down.weight", LQ_TYPE_Q6_K},
                    {"v.blk.10.ffn_down.weight", LQ_TYPE_Q6_K}, {"v.blk.11.ffn_down.weight", LQ_TYPE_Q4_K},
                    {"v.blk.15.ffn_down.weight", LQ_TYPE_Q6_K}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(entry_of(plan, expected[i].name)->type, expected[i].type);
    lq_plan_free(plan);
    drop(m);
}

/* Of candidates for an automatic plan, the hidden size is settled before any type is. */
static void candidates_share_a_size(void **state)
{
    (void)state;
    static const struct {
        struct wish wish;
        const char *types;
        uint64_t hidden;
        const char *smallest; /* for ffn_down; NULL: refused */
    } cases[] = {
        {{1152, 4304, false, false, false, false}, NULL, 4352, "q1_0"},
        {{1152, 4304, false, false, false, false}, "q4_0,q8_0,f16", 4320, "q4_0"},
        {{1152, 4304, false, false, false, false}, "f16", 4304, "f16"},
        {{256, 1040, true, false, false, false}, NULL, 1056, "mxfp4"},   /* 1280 would be a quarter more */
        {{256, 1040, false, false, false, false}, "q4_k", 1280, "q4_k"}, /* nothing else is allowed */
        {{256, 4320, false, true, false, false}, "q4_k,q8_0", 4352, "q4_k"},
        {{256, 4320, false, false, true, false}, "q8_0", 4320, "q8_0"},
        {{256, 16, false, false, false, false}, NULL, 16, "f16"},
        {{4352, 4304, false, false, false, false}, NULL, 4320, "mxfp4"}, /* would look like an old file */
        {{256, 1040, false, false, false, true}, "q4_0", 1040, NULL},    /* blocks that differ */
        {{1152, 4304, false, false, false, false}, "q4_k", 0, NULL},     /* rows of 1152 fit at no size */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct made *m = make(&cases[i].wish);
        struct lq_choices choices = {0};
        struct lq_error err = {0};
        enum lq_status status =
            lq_choices_build(&choices, &m->model, &(struct lq_choices_limits){.types = cases[i].types}, &err);
        if (status != (cases[i].smallest != NULL ? LQ_OK : LQ_ERR_USAGE)) fail_msg("case %zu: %s", i, err.message);
        for (size_t k = 0; k < choices.n; k++) {
            const struct lq_choices_item *item = &choices.items[k];
            for (size_t d = 0; d < 2; d++)
                if (item->tensor->ne[d] == cases[i].wish.hidden && item->entries[0].ne[d] != cases[i].hidden)
                    fail_msg("case %zu: %s: %llu", i, item->tensor->name, (unsigned long long)item->entries[0].ne[d]);
            if (item->tensor->role != LQ_ROLE_VISION_FFN_DOWN) continue;
            assert_string_equal(lq_format_name(item->entries[0].type), cases[i].smallest);
            assert_int_equal(strncmp(item->entries[0].reason, "padded ", 7) == 0,
                             cases[i].hidden != cases[i].wish.hidden);
        }
        lq_choices_release(&choices);
        drop(m);
    }
    struct made *m = make(&(struct wish){.width = 1152, .hidden = 4304});
    struct lq_choices choices;
    assert_int_equal(lq_choices_build(&choices, &m->model, &(struct lq_choices_limits){.no_padding = true}, NULL),
                     LQ_OK);
    for (size_t k = 0; k < choices.n; k++)
        assert_memory_equal(choices.items[k].entries[0].ne, m->tensors[k].ne, sizeof m->tensors[k].ne);
    lq_choices_release(&choices);
    drop(m);
}

static void reload(const struct made *m, const char *path, enum lq_status wanted, const char *message,
                   struct lq_plan **out)
{
    struct lq_error err = {0};
    enum lq_status status = lq_plan_load(out, path, &m->model, &(struct lq_plan_request){0}, &err);
    if (status != wanted) fail_msg("%d: %s", status, err.message);
    if (message != NULL && strstr(err.message, message) == NULL) fail_msg("%s", err.message);
}

/* Replaces the first `from` in the file; the texts are equally long. */
static void edit(const char *path, const char *from, const char *to)
{
    char text[1 << 16];
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    char *at = strstr(text, from);
    assert_non_null(at);
    assert_int_equal(fseek(f, at - text, SEEK_SET), 0);
    assert_true(fputs(to, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void plan_files_keep_the_shapes(void **state)
{
    (void)state;
    const struct wish wish = {.width = 256, .hidden = 1040};
    char path[] = "/tmp/llava-quantize-test-XXXXXX";
    struct made *m = make(&wish);
    struct lq_plan *plan = plan_with(m, &(struct lq_plan_request){.spec = "q4_0"}), *again = NULL;
    struct lq_error err = {0};
    close(mkstemp(path));
    assert_int_equal(lq_plan_save(plan, path, &err), LQ_OK);
    reload(m, path, LQ_OK, NULL, &again);
    assert_string_equal(again->recipe, plan->recipe);
    assert_int_equal(again->n_entries, plan->n_entries);
    for (size_t i = 0; i < plan->n_entries; i++) {
        assert_memory_equal(again->entries[i].ne, plan->entries[i].ne, sizeof plan->entries[i].ne);
        assert_int_equal(again->entries[i].bytes, plan->entries[i].bytes);
        assert_string_equal(again->entries[i].reason, plan->entries[i].reason);
    }
    lq_plan_free(again);
    edit(path, "[256, 1056]", "[256, 1088]");
    reload(m, path, LQ_ERR_FORMAT, "all blocks must be padded alike", &again);
    edit(path, "[256, 1088]", "[256, 1024]");
    reload(m, path, LQ_ERR_FORMAT, "expected 1040", &again);
    edit(path, "[256, 1024]", "[288, 1056]");
    reload(m, path, LQ_ERR_FORMAT, "the shape is not the model's", &again);
    unlink(path);
    lq_plan_free(plan);
    drop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_the_types),     cmocka_unit_test(no_padding_when_told),
        cmocka_unit_test(a_mix_counts_the_blocks),    cmocka_unit_test(candidates_share_a_size),
        cmocka_unit_test(plan_files_keep_the_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
