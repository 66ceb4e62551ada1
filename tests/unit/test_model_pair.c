/* Which files make a pair: a folder, a language file with its mmproj, a half alone, and everything that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "bytes.h"
#include "llava_quantize/model.h"
#include "test_folder.h"

static struct lq_error err;

/* One half to write: what tests vary, 0 or NULL where it is absent. */
struct half {
    const char *file, *architecture, *type, *projector, *pair_id, *source;
    uint32_t width;
    bool old_ffn_names;
};

static void put_tensor(struct bytes *b, const char *name, uint64_t columns, uint64_t rows, uint64_t *offset)
{
    put_gguf_tensor(b, name, columns, rows, LQ_TYPE_F32, *offset);
    *offset += columns * rows * 4;
}

static void put_vision_tensors(struct bytes *b, const struct half *h, uint64_t *offset)
{
    put_tensor(b, "mm.2.weight", 8, h->width, offset);
    put_tensor(b, h->old_ffn_names ? "v.blk.0.ffn_down.weight" : "v.blk.0.ffn_up.weight", 16, 32, offset);
    put_tensor(b, h->old_ffn_names ? "v.blk.0.ffn_up.weight" : "v.blk.0.ffn_down.weight", 32, 16, offset);
}

static void path_of(const char *file, char out[256])
{
    snprintf(out, 256, "%s/%s", folder, file);
}

static void make(const struct half *h)
{
    static struct bytes b;
    char path[256], key[64];
    const struct {
        const char *key, *value;
    } texts[] = {
        {"general.architecture", h->architecture}, {"general.type", h->type},
        {"clip.projector_type", h->projector},     {"llava_quantize.pair_id", h->pair_id},
        {"llava_quantize.source", h->source},
    };
    bool vision = h->projector != NULL;
    uint64_t offset = 0, n_kvs = 1;
    for (size_t i = 0; i < 5; i++) n_kvs += texts[i].value != NULL;
    b.n = 0;
    put_gguf_head(&b, 3, vision ? 3 : 1, n_kvs);
    for (size_t i = 0; i < 5; i++)
        if (texts[i].value != NULL) put_gguf_text(&b, texts[i].key, texts[i].value);
    snprintf(key, sizeof key, "%s.embedding_length", vision ? "clip.vision" : "llama");
    put_gguf_u32(&b, key, vision ? 16 : h->width);
    if (vision) put_vision_tensors(&b, h, &offset);
    else put_tensor(&b, "output.weight", 8, 8, &offset);
    put_padding(&b, 32);
    put_zeros(&b, offset);
    path_of(h->file, path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.n, f), b.n);
    fclose(f);
}

static const struct half language = {.file = "m-F16.gguf", .architecture = "llama", .width = 8};
static const struct half vision = {.file = "mmproj-m-F16.gguf", .architecture = "clip", .projector = "mlp", .width = 8};

static struct lq_model *open_model(const char *file, const char *mmproj, int only)
{
    char path[256], mmproj_path[256];
    struct lq_model *m = NULL;
    struct lq_model_options options = {.mmproj = mmproj == NULL ? NULL : mmproj_path, .only = only};
    path_of(file, path);
    if (mmproj != NULL) path_of(mmproj, mmproj_path);
    return lq_model_open(&m, path, &options, &err) == LQ_OK ? m : NULL;
}

/* Opens and compares: which files became the halves ("" for none), and the name. */
static void opens(const char *file, const char *mmproj, int only, const char *language_file, const char *vision_file,
                  const char *name)
{
    const char *files[LQ_HALVES] = {[LQ_LANGUAGE] = language_file, [LQ_VISION] = vision_file};
    char path[256];
    struct lq_model *m = open_model(file, mmproj, only);
    if (m == NULL) fail_msg("%s", err.message);
    for (int h = 0; h < LQ_HALVES; h++) {
        assert_int_equal(m->half[h] != NULL, files[h][0] != '\0');
        if (m->half[h] == NULL) continue;
        path_of(files[h], path);
        assert_string_equal(m->half[h]->path, path);
        assert_int_equal(m->half[h]->half, h);
    }
    assert_string_equal(m->name, name);
    assert_false(m->hugging_face);
    lq_model_free(m);
}

/* Fails with `status` and a message that says FOLDER for the folder. */
static void refused(const char *file, const char *mmproj, int only, enum lq_status status, const char *message)
{
    char expected[1024];
    size_t used = 0;
    for (const char *at = message; *at != '\0'; at++) {
        bool place = strncmp(at, "FOLDER", 6) == 0;
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%.*s", place ? 63 : 1, place ? folder : at);
        if (place) at += 5;
    }
    assert_null(open_model(file, mmproj, only));
    assert_string_equal(err.message, expected);
    assert_int_equal(err.status, status);
}

static void a_pair(void **state)
{
    (void)state;
    make(&language);
    make(&vision);
    opens("", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
    opens("", NULL, LQ_VISION, "", "mmproj-m-F16.gguf", "m");
    opens("", NULL, LQ_LANGUAGE, "m-F16.gguf", "", "m");
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
    opens("m-F16.gguf", NULL, LQ_VISION, "", "mmproj-m-F16.gguf", "m");
    opens("m-F16.gguf", NULL, LQ_LANGUAGE, "m-F16.gguf", "", "m");
    opens("mmproj-m-F16.gguf", NULL, -1, "", "mmproj-m-F16.gguf", "m");
    refused("mmproj-m-F16.gguf", NULL, LQ_LANGUAGE, LQ_ERR_USAGE,
            "FOLDER/mmproj-m-F16.gguf: a vision half alone; name the language model's file");
    refused("mmproj-m-F16.gguf", "m-F16.gguf", -1, LQ_ERR_USAGE,
            "FOLDER/mmproj-m-F16.gguf: already a vision half; --mmproj goes with a language model");
    refused("m-F16.gguf", "m-F16.gguf", -1, LQ_ERR_USAGE,
            "FOLDER/m-F16.gguf: not a vision half: general.architecture is 'llama', expected 'clip'");
}

static void one_half(void **state)
{
    (void)state;
    make(&language);
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "", "m");
    opens("", NULL, -1, "m-F16.gguf", "", "m");
    refused("m-F16.gguf", NULL, LQ_VISION, LQ_ERR_USAGE,
            "FOLDER/m-F16.gguf: no vision half: no mmproj-*.gguf stands beside it; name one with --mmproj FILE");
}

static void the_matching_name_wins(void **state)
{
    (void)state;
    struct half other = vision;
    other.file = "mmproj-a.gguf";
    make(&language);
    make(&other);
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "mmproj-a.gguf", "m");
    make(&vision);
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
    opens("", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
    opens("m-F16.gguf", "mmproj-a.gguf", -1, "m-F16.gguf", "mmproj-a.gguf", "m");
    opens("", "mmproj-a.gguf", -1, "m-F16.gguf", "mmproj-a.gguf", "m");
}

static void several_candidates_are_listed(void **state)
{
    (void)state;
    struct half a = vision, b = vision, second = language;
    a.file = "mmproj-a.gguf";
    b.file = "mmproj-b.gguf";
    second.file = "n.gguf";
    make(&language);
    make(&a);
    make(&b);
    refused("m-F16.gguf", NULL, -1, LQ_ERR_USAGE,
            "FOLDER/m-F16.gguf: several mmproj files stand beside it: mmproj-a.gguf, mmproj-b.gguf; name one with "
            "--mmproj FILE");
    refused("", NULL, -1, LQ_ERR_USAGE,
            "FOLDER/: several vision halves: mmproj-a.gguf, mmproj-b.gguf; name one with --mmproj FILE");
    make(&second);
    refused("", NULL, -1, LQ_ERR_USAGE, "FOLDER/: several language models: m-F16.gguf, n.gguf; name the file");
}

static void unrelated_files_are_passed_over(void **state)
{
    (void)state;
    const struct half imatrix = {.file = "imatrix.gguf", .architecture = "llama", .type = "imatrix", .width = 8};
    make(&language);
    make(&imatrix);
    opens("", NULL, -1, "m-F16.gguf", "", "m");
    refused("imatrix.gguf", NULL, -1, LQ_ERR_UNSUPPORTED,
            "FOLDER/imatrix.gguf: not a model (see its key general.type)");
    refused("none", NULL, -1, LQ_ERR_IO, "FOLDER/none: cannot open: No such file or directory");
}

static void an_empty_folder(void **state)
{
    (void)state;
    refused("", NULL, -1, LQ_ERR_UNSUPPORTED,
            "FOLDER/: holds no model: neither config.json with safetensors nor GGUF files");
}

static void widths_must_match(void **state)
{
    (void)state;
    struct half wide = vision;
    wide.width = 12;
    make(&language);
    make(&wide);
    refused("m-F16.gguf", NULL, -1, LQ_ERR_FORMAT,
            "FOLDER/mmproj-m-F16.gguf: its projector is 12 wide, but the language model FOLDER/m-F16.gguf is 8 wide: "
            "they are not a pair");
    wide.projector = "qwen3vl_merger"; /* wider by its deepstack: not certain, so not checked */
    make(&wide);
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
}

static void pair_ids_must_match_unless_named(void **state)
{
    (void)state;
    struct half l = language, v = vision;
    l.pair_id = "00112233445566778899aabbccddeeff";
    make(&l);
    make(&v);
    opens("m-F16.gguf", NULL, -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
    v.pair_id = "ffeeddccbbaa99887766554433221100";
    make(&v);
    refused("m-F16.gguf", NULL, -1, LQ_ERR_USAGE,
            "FOLDER/mmproj-m-F16.gguf: llava_quantize.pair_id differs from that of FOLDER/m-F16.gguf: the files come "
            "from two "
            "runs; if they are meant for each other, name it with --mmproj");
    opens("m-F16.gguf", "mmproj-m-F16.gguf", -1, "m-F16.gguf", "mmproj-m-F16.gguf", "m");
}

static void an_architecture_is_needed(void **state)
{
    (void)state;
    struct half nameless = language;
    nameless.architecture = NULL;
    make(&nameless);
    refused("m-F16.gguf", NULL, -1, LQ_ERR_FORMAT, "FOLDER/m-F16.gguf: key 'general.architecture' is missing");
}

static void old_towers_name_their_ffn_the_other_way_round(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct half v = vision;
        v.old_ffn_names = old == 1;
        make(&v);
        struct lq_model *m = open_model("mmproj-m-F16.gguf", NULL, -1);
        assert_non_null(m);
        assert_int_equal(m->half[LQ_VISION]->tensors[1].role, LQ_ROLE_VISION_FFN_UP);
        assert_int_equal(m->half[LQ_VISION]->tensors[2].role, LQ_ROLE_VISION_FFN_DOWN);
        lq_model_free(m);
    }
}

static void an_earlier_run_names_the_source(void **state)
{
    (void)state;
    struct half l = language;
    l.source = "llava-1.5-7b-hf";
    make(&l);
    struct lq_model *m = open_model("m-F16.gguf", NULL, -1);
    assert_non_null(m);
    assert_string_equal(m->source, "llava-1.5-7b-hf");
    lq_model_free(m);
}

static void rows_are_read_and_bounded(void **state)
{
    (void)state;
    float rows[8 * 8];
    make(&language);
    struct lq_model *m = open_model("m-F16.gguf", NULL, -1);
    assert_non_null(m);
    const struct lq_tensor *t = &m->half[LQ_LANGUAGE]->tensors[0];
    memset(rows, 0xff, sizeof rows);
    assert_int_equal(lq_model_read(m, t, 2, 6, rows, &err), LQ_OK);
    assert_true(rows[0] == 0 && rows[47] == 0 && rows[48] != 0);
    assert_int_equal(lq_model_read(m, t, 2, 7, rows, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_model_read(m, t, UINT64_MAX, 2, rows, &err), LQ_ERR_USAGE);
    lq_model_free(m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pair),
        TEST(one_half),
        TEST(the_matching_name_wins),
        TEST(several_candidates_are_listed),
        TEST(unrelated_files_are_passed_over),
        TEST(an_empty_folder),
        TEST(widths_must_match),
        TEST(pair_ids_must_match_unless_named),
        TEST(an_architecture_is_needed),
        TEST(old_towers_name_their_ffn_the_other_way_round),
        TEST(an_earlier_run_names_the_source),
        TEST(rows_are_read_and_bounded),
    };
    return cmocka_run_group_tests_name("model_pair", tests, NULL, NULL);
}
