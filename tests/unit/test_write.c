/* What the writer puts into files, and what it refuses. Faults of the system and kills are in the other test_write
 * programs. */
#include "test_write_fixture.h"

#include "base/file.h"
#include "write/layout.h"

static uint8_t *pattern(uint64_t n)
{
    uint8_t *bytes = malloc(n);
    for (uint64_t i = 0; i < n; i++) bytes[i] = (uint8_t)(7 * i + 13);
    return bytes;
}

static void set_golden_kvs(struct lq_kvs *kvs, struct lq_error *err)
{
    const char *strings[] = {"a", "", "bcd"};
    const size_t lengths[] = {1, 0, 3};
    const uint8_t u8 = 200;
    const int8_t i8 = -100;
    const uint16_t u16 = 60000;
    const int16_t i16 = -30000;
    const int32_t i32 = -2000000000;
    const uint64_t u64 = UINT64_C(1) << 63;
    const int64_t i64 = -(INT64_C(1) << 62);
    const double f64 = 0.1;
    lq_kvs_set_string(kvs, "general.architecture", "clip", err);
    lq_kvs_set_raw(kvs, "t.u8", LQ_KV_U8, LQ_KV_U8, 1, &u8, 1, err);
    lq_kvs_set_raw(kvs, "t.i8", LQ_KV_I8, LQ_KV_I8, 1, &i8, 1, err);
    lq_kvs_set_raw(kvs, "t.u16", LQ_KV_U16, LQ_KV_U16, 1, &u16, 2, err);
    lq_kvs_set_raw(kvs, "t.i16", LQ_KV_I16, LQ_KV_I16, 1, &i16, 2, err);
    lq_kvs_set_u32(kvs, "t.u32", 4000000000u, err);
    lq_kvs_set_raw(kvs, "t.i32", LQ_KV_I32, LQ_KV_I32, 1, &i32, 4, err);
    lq_kvs_set_f32(kvs, "t.f32", 0.1f, err);
    lq_kvs_set_bool(kvs, "t.bool", true, err);
    lq_kvs_set_string(kvs, "t.string", "Größe 大", err);
    lq_kvs_set_raw(kvs, "t.u64", LQ_KV_U64, LQ_KV_U64, 1, &u64, 8, err);
    lq_kvs_set_raw(kvs, "t.i64", LQ_KV_I64, LQ_KV_I64, 1, &i64, 8, err);
    lq_kvs_set_raw(kvs, "t.f64", LQ_KV_F64, LQ_KV_F64, 1, &f64, 8, err);
    lq_kvs_set_array(kvs, "t.array.u32", LQ_KV_U32, 3, (const uint32_t[]){1, 2, 3}, err);
    lq_kvs_set_array(kvs, "t.array.f32", LQ_KV_F32, 2, (const float[]){0.5f, -0.25f}, err);
    lq_kvs_set_strings(kvs, "t.array.string", strings, lengths, 3, err);
    lq_kvs_set_string(kvs, "llava_quantize.pair_id", "................................", err);
}

static const struct lq_output_tensor golden_tensors[] = {
    {"three.dims", LQ_TYPE_F32, 3, {5, 3, 2}},
    {"halves", LQ_TYPE_F16, 1, {33}},
    {"blocks", LQ_TYPE_Q8_0, 2, {64, 3}},
    {"last", LQ_TYPE_F32, 1, {1}},
};
static const uint64_t golden_sizes[] = {120, 66, 204, 4};

/* The same content written by gguf-py (tests/golden/make_write_golden.py); pieces arrive out of order. */
static void gives_the_bytes_of_gguf_py(void **state)
{
    struct lq_error err = {0};
    struct lq_kvs kvs = {0};
    struct lq_output *o = NULL;
    char *path = fixture_path(*state, "x.gguf"), *found, *expected;
    size_t found_size, expected_size;
    set_golden_kvs(&kvs, &err);
    assert_int_equal(lq_output_open(&o, (const char *[]){path}, 1, false, &err), LQ_OK);
    assert_int_equal(lq_output_begin(o, 0, &kvs, golden_tensors, 4, 32, &err), LQ_OK);
    for (size_t i = 4; i-- > 0;) {
        uint8_t *data = pattern(golden_sizes[i]);
        uint64_t split = golden_sizes[i] / 3;
        assert_int_equal(lq_output_write(o, 0, i, split, data + split, golden_sizes[i] - split, &err), LQ_OK);
        assert_int_equal(lq_output_write(o, 0, i, 0, data, split, &err), LQ_OK);
        free(data);
    }
    assert_int_equal(lq_output_commit(o, "0123456789abcdef0123456789abcdef", &err), LQ_OK);
    assert_int_equal(lq_file_load(path, 1 << 20, &found, &found_size, &err), LQ_OK);
    assert_int_equal(lq_file_load(LQ_TESTS "/golden/write.gguf", 1 << 20, &expected, &expected_size, &err), LQ_OK);
    assert_int_equal(found_size, expected_size);
    assert_memory_equal(found, expected, expected_size);
    lq_output_close(o);
    lq_kvs_release(&kvs);
    free(found);
    free(expected);
    free(path);
}

static void refuses_tensors_that_no_file_can_hold(void **state)
{
    static const struct {
        struct lq_output_tensor tensor;
        const char *message;
    } cases[] = {
        {{"", LQ_TYPE_F32, 1, {1}},
         "out.gguf: tensor '': a GGUF file holds names of 1 to 63 bytes and 1 to 4 dimensions, found 1"},
        {{"0123456789012345678901234567890123456789012345678901234567890123", LQ_TYPE_F32, 1, {1}},
         "out.gguf: tensor '0123456789012345678901234567890123456789012345678901234567890123': a GGUF file holds names "
         "of 1 to 63 bytes and 1 to 4 dimensions, found 1"},
        {{"t", LQ_TYPE_F32, 0, {1}},
         "out.gguf: tensor 't': a GGUF file holds names of 1 to 63 bytes and 1 to 4 dimensions, found 0"},
        {{"t", LQ_TYPE_F32, 5, {1}},
         "out.gguf: tensor 't': a GGUF file holds names of 1 to 63 bytes and 1 to 4 dimensions, found 5"},
        {{"t", LQ_TYPE_Q4_K, 1, {4304}}, "out.gguf: tensor 't': rows of 4304 columns do not fit type q4_k"},
        {{"t", LQ_TYPE_F32, 2, {8, 0}}, "out.gguf: tensor 't': dimension 1 of 0 is out of range"},
        {{"t", LQ_TYPE_F32, 2, {1 << 30, UINT64_C(1) << 40}},
         "out.gguf: tensor 't': dimension 1 of 1099511627776 is out of range"},
        {{"t", LQ_TYPE_I8, 1, {INT64_MAX}}, "out.gguf: 1 tensors are more than a file can hold"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_error err = {0};
        struct lq_layout layout = {0};
        struct lq_kvs kvs = {0};
        assert_int_equal(lq_layout_init(&layout, "out.gguf", &kvs, &cases[i].tensor, 1, 32, &err), LQ_ERR_USAGE);
        assert_string_equal(err.message, cases[i].message);
        assert_null(layout.header);
    }
}

static void aligns_as_the_metadata_say(void **state)
{
    struct lq_error err = {0};
    struct lq_layout layout = {0};
    struct lq_kvs kvs = {0};
    (void)state;
    assert_int_equal(lq_layout_init(&layout, "o", &kvs, fixture_tensors, 2, 64, &err), LQ_ERR_USAGE);
    assert_string_equal(err.message, "o: alignment of 64, but the metadata say 32 (a power of two is expected)");
    assert_int_equal(lq_kvs_set_u32(&kvs, "general.alignment", 4096, &err), LQ_OK);
    assert_int_equal(lq_layout_init(&layout, "o", &kvs, fixture_tensors, 2, 4096, &err), LQ_OK);
    assert_int_equal(layout.tensors[0].offset, 4096);
    assert_int_equal(layout.tensors[1].offset, 8192);
    assert_int_equal(layout.file_bytes, 12288);
    lq_layout_release(&layout);
    lq_kvs_release(&kvs);
}

static void writes_pairs_and_halves_into_any_folder(void **state)
{
    static const struct {
        const char *folder, *state;
    } cases[] = {
        {"", "m.gguf:1 mmproj-m.gguf:1"},
        {"/new", "new/(m.gguf:1 mmproj-m.gguf:1)"},
        {"/über ordner", "über ordner/(m.gguf:1 mmproj-m.gguf:1)"},
        {"//two//", "two/(m.gguf:1 mmproj-m.gguf:1)"},
        {"/a/b/c", "a/(b/(c/(m.gguf:1 mmproj-m.gguf:1)))"},
        {"//a//./b/", "a/(b/(m.gguf:1 mmproj-m.gguf:1))"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lq_error err = {0};
        char *folder, *vision, *language;
        assert_true(asprintf(&folder, "%s%s", (char *)*state, cases[i].folder) > 0);
        vision = fixture_path(folder, "mmproj-m.gguf");
        language = fixture_path(folder, "m.gguf");
        assert_int_equal(fixture_write(vision, language, false, '1', &err), LQ_OK);
        assert_state(*state, cases[i].state);
        assert_int_equal(fixture_write_one(language, false, '2', &err), LQ_ERR_USAGE);
        assert_int_equal(fixture_write_one(language, true, '2', &err), LQ_OK);
        assert_int_equal(fixture_write(vision, language, true, '3', &err), LQ_OK);
        assert_int_equal(fixture_read(vision), '3');
        assert_int_equal(fixture_read(language), '3');
        fixture_empty(*state);
        free(folder);
        free(vision);
        free(language);
    }
}

static void works_with_relative_paths(void **state)
{
    struct lq_error err = {0};
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(fixture_write("v.gguf", "l.gguf", false, '1', &err), LQ_OK);
    assert_int_equal(fixture_write_one("sub/l.gguf", false, '2', &err), LQ_OK);
    assert_int_equal(fixture_write_one("sub/../w.gguf", false, '3', &err), LQ_OK);
    assert_int_equal(fixture_write_one("sub/a/b/x.gguf", false, '4', &err), LQ_OK);
    assert_int_equal(fixture_write_one("./sub/a/c/x.gguf", false, '5', &err), LQ_OK);
    assert_int_equal(chdir(before), 0);
    free(before);
    assert_state(*state, "l.gguf:1 sub/(a/(b/(x.gguf:4) c/(x.gguf:5)) l.gguf:2) v.gguf:1 w.gguf:3");
}

/* What refuses to be an output, the whole message, and nothing changed. %s is the folder. */
static void refuses_bad_places(void **state)
{
    static const struct {
        const char *vision, *language, *message;
        enum lq_status status;
        bool force;
    } cases[] = {
        {NULL, NULL, "no output path was given", LQ_ERR_USAGE, false},
        {NULL, "%s/old.gguf", "%s/old.gguf: already exists; --force replaces it", LQ_ERR_USAGE, false},
        {"%s/v.gguf", "%s/old.gguf", "%s/old.gguf: already exists; --force replaces it", LQ_ERR_USAGE, false},
        {NULL, "%s/link.gguf", "%s/link.gguf: already exists; --force replaces it", LQ_ERR_USAGE, false},
        {NULL, "%s/d.gguf", "%s/d.gguf: is a folder, expected the path of a file", LQ_ERR_USAGE, true},
        {NULL, "%s/fifo", "%s/fifo: not a regular file", LQ_ERR_USAGE, true},
        {NULL, "%s/d.gguf/", "%s/d.gguf/: is the path of a folder, expected that of a file", LQ_ERR_USAGE, true},
        {NULL, "%s/..", "%s/..: is the path of a folder, expected that of a file", LQ_ERR_USAGE, true},
        {NULL, "", ": is the path of a folder, expected that of a file", LQ_ERR_USAGE, true},
        {NULL, "%s/a\nb", "%s/a\nb: control character 10 in the file name", LQ_ERR_USAGE, true},
        {"%s/x.gguf", "%s/x.gguf", "%s/x.gguf: two files have this name", LQ_ERR_USAGE, false},
        {"%s/x.gguf", "%s/d.gguf/y.gguf", "%s/d.gguf/y.gguf: all files go into one folder, but others go into '%s'",
         LQ_ERR_USAGE, false},
        {NULL, "%s/no/../such/x.gguf",
         "%s/no/../such/x.gguf: '%s/no/../such' goes up from a folder that is missing; write it without '..'",
         LQ_ERR_IO, false},
        {NULL, "%s/no/a\nb/x.gguf", "%s/no/a\nb: control character 10 in the file name", LQ_ERR_USAGE, false},
        {NULL, "%s/old.gguf/x.gguf", "%s/old.gguf/x.gguf: '%s/old.gguf' is not a folder", LQ_ERR_IO, false},
        {NULL, "%s/nothing/no/x.gguf", "%s/nothing/no/x.gguf: '%s/nothing' is a symbolic link to nothing", LQ_ERR_IO,
         false},
        {NULL, "%s/nothing/x.gguf", "%s/nothing/x.gguf: '%s/nothing' is a symbolic link to nothing", LQ_ERR_IO, false},
    };
    char *folder = *state, *old = fixture_path(folder, "old.gguf"), *dir = fixture_path(folder, "d.gguf");
    char *link = fixture_path(folder, "link.gguf"), *fifo = fixture_path(folder, "fifo"),
         *gone = fixture_path(folder, "nothing");
    struct lq_error err = {0};
    char before[STATE_SIZE];
    assert_int_equal(fixture_write_one(old, false, '1', &err), LQ_OK);
    assert_int_equal(mkdir(dir, 0777) | symlink("old.gguf", link) | symlink("gone", gone) | mkfifo(fifo, 0666), 0);
    unlink(fifo);
    fixture_state(folder, before);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char vision[512], language[512], message[1024];
        struct lq_output *o = NULL;
        assert_int_equal(mkfifo(fifo, 0666), 0);
        if (cases[i].vision != NULL) snprintf(vision, sizeof vision, cases[i].vision, folder);
        if (cases[i].language != NULL) snprintf(language, sizeof language, cases[i].language, folder);
        snprintf(message, sizeof message, cases[i].message, folder, folder);
        const char *paths[2];
        size_t n = 0;
        if (cases[i].vision != NULL) paths[n++] = vision;
        if (cases[i].language != NULL) paths[n++] = language;
        assert_int_equal(lq_output_open(&o, paths, n, cases[i].force, &err), cases[i].status);
        assert_string_equal(err.message, message);
        assert_null(o);
        unlink(fifo);
        assert_state(folder, before);
    }
    free(old);
    free(dir);
    free(link);
    free(fifo);
    free(gone);
}

static void replaces_a_link_and_not_what_it_points_to(void **state)
{
    struct lq_error err = {0};
    char *target = fixture_path(*state, "target.gguf"), *link = fixture_path(*state, "link.gguf");
    assert_int_equal(fixture_write_one(target, false, '1', &err), LQ_OK);
    assert_int_equal(symlink("target.gguf", link), 0);
    assert_int_equal(fixture_write_one(link, true, '2', &err), LQ_OK);
    assert_state(*state, "link.gguf:2 target.gguf:1");
    free(target);
    free(link);
}

static void follows_a_link_to_a_folder(void **state)
{
    struct lq_error err = {0};
    char *folder = fixture_path(*state, "real"), *link = fixture_path(*state, "link"),
         *path = fixture_path(link, "x.gguf");
    assert_int_equal(mkdir(folder, 0777) | symlink("real", link), 0);
    assert_int_equal(fixture_write_one(path, false, '1', &err), LQ_OK);
    unlink(link);
    assert_state(*state, "real/(x.gguf:1)");
    free(folder);
    free(link);
    free(path);
}

static void permissions_follow_the_umask(void **state)
{
    struct lq_error err = {0};
    struct stat st;
    char *folder = fixture_path(*state, "f"), *language = fixture_path(folder, "l.gguf"),
         *vision = fixture_path(folder, "v.gguf");
    mode_t before = umask(027);
    for (int pass = 0; pass < 2; pass++) { /* a new folder, then replacing in an existing one */
        assert_int_equal(fixture_write(vision, language, true, '1', &err), LQ_OK);
        assert_int_equal(stat(folder, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0750);
        assert_int_equal(stat(language, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
    }
    umask(before);
    free(folder);
    free(language);
    free(vision);
}

/* Commit refuses what is not complete; closing leaves the folder as it was. */
static void an_incomplete_file_gets_no_name(void **state)
{
    struct lq_error err = {0};
    struct lq_output *o = NULL;
    char *vision = fixture_path(*state, "v"), *language = fixture_path(*state, "l"), message[512];
    const char *const paths[] = {vision, language};
    assert_int_equal(lq_output_open(&o, paths, 2, false, &err), LQ_OK);
    assert_int_equal(fixture_begin(o, 0, &err) | fixture_fill(o, 0, '1', &err), LQ_OK);
    assert_int_equal(lq_output_commit(o, FIXTURE_ID, &err), LQ_ERR_USAGE);
    snprintf(message, sizeof message, "%s: was never begun", language);
    assert_string_equal(err.message, message);
    assert_int_equal(fixture_begin(o, 1, &err), LQ_OK);
    assert_int_equal(lq_output_write(o, 1, 0, 0, "0123456789", 10, &err), LQ_OK);
    assert_int_equal(lq_output_commit(o, FIXTURE_ID, &err), LQ_ERR_USAGE);
    snprintf(message, sizeof message, "%s: tensor 'a.weight': 10 of 204 bytes were written", language);
    assert_string_equal(err.message, message);
    assert_int_equal(lq_output_write(o, 1, 0, 200, "0123456789", 10, &err), LQ_ERR_USAGE);
    snprintf(message, sizeof message, "%s: tensor 'a.weight': 10 bytes at 200 reach beyond its 204", language);
    assert_string_equal(err.message, message);
    assert_int_equal(lq_output_write(o, 1, 2, 0, "0123456789", 10, &err), LQ_ERR_USAGE);
    lq_output_close(o);
    assert_state(*state, "");
    free(vision);
    free(language);
}

static void misuse_is_refused(void **state)
{
    enum { MANY = LQ_OUTPUT_FILES + 1 };
    struct lq_error err = {0};
    struct lq_output *o = NULL;
    char *language = fixture_path(*state, "l.gguf"), message[512];
    const char *paths[MANY];
    for (int i = 0; i < MANY; i++) paths[i] = language;
    assert_int_equal(lq_output_open(&o, paths, MANY, false, &err), LQ_ERR_USAGE);
    snprintf(message, sizeof message, "%s: 257 files, expected at most 256", language);
    assert_string_equal(err.message, message);
    assert_int_equal(lq_output_open(&o, paths, 1, false, &err), LQ_OK);
    assert_int_equal(fixture_begin(o, 1, &err), LQ_ERR_USAGE);
    assert_int_equal(fixture_begin(o, 0, &err), LQ_OK);
    assert_int_equal(fixture_begin(o, 0, &err), LQ_ERR_USAGE);
    assert_int_equal(lq_output_commit(o, FIXTURE_ID, &err), LQ_ERR_USAGE);
    assert_int_equal(fixture_fill(o, 0, '2', &err), LQ_OK);
    assert_int_equal(fixture_fill(o, 1, '2', &err), LQ_ERR_USAGE);
    assert_int_equal(lq_output_commit(o, "short", &err), LQ_ERR_USAGE);
    assert_int_equal(lq_output_commit(o, FIXTURE_ID, &err), LQ_OK);
    lq_output_close(o);
    assert_state(*state, "l.gguf:2");
    free(language);
}

/* Most files that one commit may hold, over as many that stand there. */
static void many_files_go_together(void **state)
{
    char *paths[LQ_OUTPUT_FILES], name[32];
    struct lq_error err = {0};
    for (int i = 0; i < LQ_OUTPUT_FILES; i++) {
        snprintf(name, sizeof name, "m-%05d.gguf", i);
        paths[i] = fixture_path(*state, name);
    }
    for (char fill = '1'; fill <= '2'; fill++) {
        if (fixture_write_all((const char *const *)paths, LQ_OUTPUT_FILES, true, fill, &err) != LQ_OK)
            fail_msg("%s", err.message);
        for (int i = 0; i < LQ_OUTPUT_FILES; i++) assert_int_equal(fixture_read(paths[i]), fill);
    }
    for (int i = 0; i < LQ_OUTPUT_FILES; i++) free(paths[i]);
}

static void sizes_are_known_beforehand(void **state)
{
    struct lq_error err = {0};
    struct lq_layout layout;
    struct lq_layout_size size;
    struct lq_kvs kvs = {0};
    (void)state;
    set_golden_kvs(&kvs, &err);
    lq_layout_size_begin(&size, &kvs, 32);
    for (size_t n = 0; n <= 4; n++) {
        assert_int_equal(lq_layout_init(&layout, "o", &kvs, golden_tensors, n, 32, &err), LQ_OK);
        assert_int_equal(lq_layout_size_file(&size), layout.file_bytes);
        lq_layout_release(&layout);
        if (n < 4) lq_layout_size_add(&size, golden_tensors[n].name, golden_tensors[n].n_dims, golden_sizes[n]);
    }
    lq_layout_size_add(&size, "huge", 1, UINT64_MAX - 100);
    assert_int_equal(lq_layout_size_file(&size), UINT64_MAX);
    lq_kvs_release(&kvs);
}

/* A second run on the same names, or into the same missing folder, is refused; one beside it is not. */
static void two_runs_on_one_target_are_refused(void **state)
{
    struct lq_error err = {0};
    char *a = fixture_path(*state, "a.gguf"), *b = fixture_path(*state, "b.gguf"),
         *c = fixture_path(*state, "new/c.gguf");
    char *d = fixture_path(*state, "new/d.gguf"), message[512];
    struct lq_output *first = NULL, *second = NULL, *third = NULL, *none = NULL;
    assert_int_equal(lq_output_open(&first, (const char *[]){a}, 1, false, &err), LQ_OK);
    assert_int_equal(lq_output_open(&second, (const char *[]){b}, 1, false, &err), LQ_OK);
    assert_int_equal(lq_output_open(&third, (const char *[]){c}, 1, false, &err), LQ_OK);
    assert_int_equal(lq_output_open(&none, (const char *[]){b, a}, 2, true, &err), LQ_ERR_IO);
    snprintf(message, sizeof message, "%s: another run is writing there; wait for it to end or choose another output",
             b);
    assert_string_equal(err.message, message);
    assert_int_equal(lq_output_open(&none, (const char *[]){d}, 1, true, &err), LQ_ERR_IO);
    snprintf(message, sizeof message,
             "%s/new: another run is writing there; wait for it to end or choose another output", (char *)*state);
    assert_string_equal(err.message, message);
    lq_output_close(first);
    lq_output_close(second);
    lq_output_close(third);
    assert_int_equal(fixture_write_one(d, false, '1', &err), LQ_OK);
    assert_int_equal(fixture_write(b, a, false, '1', &err), LQ_OK);
    free(a);
    free(b);
    free(c);
    free(d);
}

/* Somebody else takes a name, or makes the folder, while we work. */
static void a_name_taken_meanwhile_is_not_replaced(void **state)
{
    struct lq_error err = {0};
    char *folder = fixture_path(*state, "new"), *a = fixture_path(folder, "a.gguf"),
         *b = fixture_path(folder, "b.gguf");
    for (int taken = 0; taken < 2; taken++) {
        struct lq_output *o = NULL;
        assert_int_equal(lq_output_open(&o, (const char *[]){a, b}, 2, false, &err), LQ_OK);
        for (size_t half = 0; half < 2; half++)
            assert_int_equal(fixture_begin(o, half, &err) | fixture_fill(o, half, '1', &err), LQ_OK);
        assert_int_equal(mkdir(folder, 0777), 0);
        if (taken) assert_int_equal(symlink("gone", b), 0);
        assert_int_equal(lq_output_commit(o, FIXTURE_ID, &err), taken ? LQ_ERR_USAGE : LQ_OK);
        lq_output_close(o);
        if (taken) assert_int_equal(unlink(b), 0);
        assert_state(*state, taken ? "new/()" : "new/(a.gguf:1 b.gguf:1)");
        fixture_empty(*state);
    }
    free(folder);
    free(a);
    free(b);
}

static void fills_in_the_pair_id(void **state)
{
    struct lq_error err = {0};
    struct lq_source *s = NULL;
    const char *id;
    size_t length;
    char *path = fixture_path(*state, "l.gguf");
    assert_int_equal(fixture_write_one(path, false, '1', &err), LQ_OK);
    assert_int_equal(lq_source_open(&s, path, &err), LQ_OK);
    assert_true(lq_kvs_get_string(&s->kvs, "llava_quantize.pair_id", &id, &length));
    assert_int_equal(length, 32);
    assert_memory_equal(id, FIXTURE_ID, 32);
    lq_source_close(s);
    free(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(gives_the_bytes_of_gguf_py),
        TEST(refuses_tensors_that_no_file_can_hold),
        TEST(aligns_as_the_metadata_say),
        TEST(writes_pairs_and_halves_into_any_folder),
        TEST(works_with_relative_paths),
        TEST(refuses_bad_places),
        TEST(replaces_a_link_and_not_what_it_points_to),
        TEST(follows_a_link_to_a_folder),
        TEST(permissions_follow_the_umask),
        TEST(an_incomplete_file_gets_no_name),
        TEST(misuse_is_refused),
        TEST(many_files_go_together),
        TEST(sizes_are_known_beforehand),
        TEST(two_runs_on_one_target_are_refused),
        TEST(a_name_taken_meanwhile_is_not_replaced),
        TEST(fills_in_the_pair_id),
    };
    return cmocka_run_group_tests_name("write", tests, NULL, NULL);
}
