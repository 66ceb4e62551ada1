/* Data sets: both forms in both containers, what breaks a record and what ends a load, drawing, the demo's own sets. */
#include "llava_quantize/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_folder.h"

static char path[128]; /* of the file that save() writes */

static void save_bytes(const void *data, size_t n)
{
    snprintf(path, sizeof path, "%s/data.jsonl", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void save(const char *text)
{
    save_bytes(text, strlen(text));
}

static struct lq_dataset *load_with(const struct lq_dataset_options *options)
{
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    if (lq_dataset_load(&data, path, options, &err) != LQ_OK) fail_msg("%s", err.message);
    assert_string_equal(data->path, path);
    return data;
}

static struct lq_dataset *load(const char *text)
{
    save(text);
    return load_with(NULL);
}

/* The file as it stands is refused with "PATH" and `message`. */
static void refuse_with(const struct lq_dataset_options *options, const char *message)
{
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    assert_int_equal(lq_dataset_load(&data, path, options, &err), LQ_ERR_FORMAT);
    assert_null(data);
    assert_int_equal(err.status, LQ_ERR_FORMAT);
    assert_memory_equal(err.message, path, strlen(path));
    assert_string_equal(err.message + strlen(path), message);
}

static void refuse(const char *text, const char *message)
{
    save(text);
    refuse_with(NULL, message);
}

#define LINE(fields) "{\"image\": \"a.png\", \"text\": \"Q\", " fields "}\n"
#define GOOD LINE("\"answer\": \"yes\"")
#define TALK(value) \
    "[{\"image\": \"a.png\", \"conversations\": [{\"from\": \"human\", \"value\": \"" value "\"}, " \
    "{\"from\": \"gpt\", \"value\": \"yes\"}]}]"

static void check_pair(const struct lq_dataset *data)
{
    char image[128];
    snprintf(image, sizeof image, "%s/a.png", folder);
    assert_int_equal(data->n_records, 2);
    assert_int_equal(data->n_broken, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(data->records[i].id, i == 0 ? "7" : "x");
        assert_string_equal(data->records[i].image, image);
        assert_int_equal(data->records[i].n_turns, 1);
        assert_string_equal(data->records[i].turns[0].question, "Which animal?");
        assert_int_equal(data->records[i].turns[0].n_answers, 1);
        assert_string_equal(data->records[i].turns[0].answers[0], i == 0 ? "cat" : "two dogs");
    }
    assert_int_equal(data->n_pictures, 1);
    assert_int_equal(data->n_turns, 2);
}

#define QUESTION "{\"question_id\": 7, \"image\": \"a.png\", \"text\": \"Which animal?\", \"answer\": \"cat\"}"
#define CONVERSATION \
    "{\"id\": \"x\", \"image\": [\"a.png\"], \"conversations\": [" \
    "{\"from\": \"user\", \"value\": \"<image>\\nWhich animal?\"}, {\"from\": \"assistant\", \"value\": \"two " \
    "dogs\"}]}"

static void test_containers(void **state)
{
    (void)state;
    static const char *const files[] = {
        "[" QUESTION "," CONVERSATION "]",
        "\n [\r\n" QUESTION "\r\n,\r\n" CONVERSATION "\r\n]\r\n\r\n",
        QUESTION "\n" CONVERSATION,
        "\xef\xbb\xbf\r\n" QUESTION "\r\n\r\n  \t\r\n" CONVERSATION "\r\n",
        "\xef\xbb\xbf[" QUESTION "," CONVERSATION "]",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct lq_dataset *data = load(files[i]);
        check_pair(data);
        lq_dataset_free(data);
    }
}

static void test_conversation(void **state)
{
    (void)state;
    struct lq_dataset *data = load("[{\"image\": \"a.png\", \"conversations\": ["
                                   "{\"from\": \"human\", \"value\": \"Which?\\n<image>\"},"
                                   "{\"from\": \"gpt\", \"value\": \" A \\u00e9lan\"},"
                                   "{\"from\": \"human\", \"value\": \" Why?\\n\"},"
                                   "{\"from\": \"gpt\", \"value\": 12}]}]");
    const struct lq_turn *turns = data->records[0].turns;
    assert_string_equal(data->records[0].id, "1");
    assert_string_equal(data->records[0].kind, "");
    assert_int_equal(data->records[0].n_turns, 2);
    assert_int_equal(data->n_turns, 2);
    assert_string_equal(turns[0].question, "Which?");
    assert_string_equal(turns[0].answers[0], " A \xc3\xa9lan");
    assert_string_equal(turns[1].question, " Why?\n");
    assert_string_equal(turns[1].answers[0], "12");
    assert_int_equal(turns[1].n_answers, 1);
    assert_int_equal(turns[1].likeliest, 0);
    lq_dataset_free(data);
}

static void test_marks(void **state)
{
    (void)state;
    static const struct {
        const char *text, *question;
    } good[] = {
        {TALK("<image>\\nWhich one?"), "Which one?"},
        {TALK("Which one?\\n<image>"), "Which one?"},
        {TALK("<image>Which one?"), "Which one?"},
        {TALK(" \\n<image> \\r\\n Which\\n one? \\n"), "Which\n one?"},
        {TALK(" Which one?<image> \\n"), "Which one?"},
        {LINE("\"answer\": \"yes\""), "Q"},
        {"{\"image\": \"a\", \"text\": \"<image>\\nQ\", \"answer\": \"yes\"}", "Q"},
        {"{\"image\": \"a\", \"text\": \" Q \\n\", \"answer\": \"yes\"}", " Q \n"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct lq_dataset *data = load(good[i].text);
        assert_string_equal(data->records[0].turns[0].question, good[i].question);
        lq_dataset_free(data);
    }
}

static void check_answers(const char *fields, size_t likeliest, const char *const *answers, size_t n)
{
    char text[512];
    snprintf(text, sizeof text, "{\"image\": \"a\", \"text\": \"Q\", %s}", fields);
    struct lq_dataset *data = load(text);
    const struct lq_turn *turn = data->records[0].turns;
    assert_int_equal(turn->n_answers, n);
    for (size_t i = 0; i < n; i++) assert_string_equal(turn->answers[i], answers[i]);
    assert_int_equal(turn->likeliest, likeliest);
    lq_dataset_free(data);
}

#define ANSWERS(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static void test_answers(void **state)
{
    (void)state;
    check_answers("\"answer\": 3", 0, ANSWERS("3"));
    check_answers("\"answer\": -2.50", 0, ANSWERS("-2.5"));
    check_answers("\"answer\": 0.1", 0, ANSWERS("0.1"));
    check_answers("\"answer\": null, \"answers\": [\"a\"]", 0, ANSWERS("a"));
    check_answers("\"answers\": [\"a\", \"b\", \"b\", 4]", 1, ANSWERS("a", "b", "b", "4"));
    check_answers("\"answers\": [\"a\", \"b\", \"c\"]", 0, ANSWERS("a", "b", "c"));
    check_answers("\"answers\": [\"c\", \"b\", \"a\", \"a\", \"b\"]", 1, ANSWERS("c", "b", "a", "a", "b"));
    check_answers("\"answers\": [\"B\", \"b\", \"b \"]", 0, ANSWERS("B", "b", "b "));
    check_answers("\"answers\": [{\"answer\": \"a\", \"answer_confidence\": \"yes\", \"answer_id\": 1},"
                  "{\"answer\": \"b\"}, {\"answer\": \"b\"}]",
                  1, ANSWERS("a", "b", "b"));
    check_answers("\"answer\": \"c\", \"answers\": [\"a\", \"a\", \"c\"]", 2, ANSWERS("a", "a", "c"));
}

static void test_names(void **state)
{
    (void)state;
    struct lq_dataset *data =
        load("{\"id\": \"i\", \"question_id\": 3, \"image\": \"a\", \"text\": \"Q\", \"answer\": "
             "\"y\", \"kind\": \"count\", \"more\": [1]}\n"
             "{\"image\": \"a\", \"text\": \"Q\", \"answer\": \"y\", \"kind\": \"\"}\n"
             "{\"id\": -5, \"image\": \"a\", \"text\": \"Q\", \"answer\": \"y\", \"kind\": null}\n"
             "{\"id\": \"i\", \"image\": \"a\", \"text\": \"Q\", \"answer\": \"y\"}\n");
    static const char *const ids[] = {"i", "2", "-5", "i"}, *const kinds[] = {"count", "", "", ""};
    assert_int_equal(data->n_records, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(data->records[i].id, ids[i]);
        assert_string_equal(data->records[i].kind, kinds[i]);
    }
    lq_dataset_free(data);
}

static void check_image(const char *image, const char *images, const char *expected)
{
    char text[512];
    snprintf(text, sizeof text, "{\"image\": \"%s\", \"text\": \"Q\", \"answer\": \"y\"}", image);
    save(text);
    struct lq_dataset *data = load_with(&(struct lq_dataset_options){.images = images});
    assert_string_equal(data->records[0].image, expected);
    lq_dataset_free(data);
}

static void test_images(void **state)
{
    (void)state;
    char there[128];
    snprintf(there, sizeof there, "%s/b c/a.png", folder);
    check_image("b c/a.png", NULL, there);
    snprintf(there, sizeof there, "%s/../a.png", folder);
    check_image("../a.png", NULL, there);
    check_image("/x/a.png", NULL, "/x/a.png");
    check_image("/x/a.png", "pictures", "/x/a.png");
    check_image("a.png", "pictures", "pictures/a.png");
    check_image("a.png", "/pictures/", "/pictures/a.png");
    check_image("a.png", "/", "/a.png");
    check_image("a.png", "", "a.png");
    check_image("a.png", ".", "./a.png");
}

/* A name without a folder: pictures lie in the working folder. */
static void test_images_of_a_bare_name(void **state)
{
    (void)state;
    char before[4096];
    save(GOOD);
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    enum lq_status status = lq_dataset_load(&data, "data.jsonl", NULL, &err);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, LQ_OK);
    assert_string_equal(data->records[0].image, "a.png");
    lq_dataset_free(data);
}

/* ---- what breaks a record ---- */

static const struct {
    const char *record, *why;
} broken[] = {
    {"7", "the record is a number, expected an object"},
    {"\"text\"", "the record is a text, expected an object"},
    {"[]", "the record is a list, expected an object"},
    {"{}", "no picture: 'image' is missing"},
    {"{\"text\": \"Q\", \"answer\": \"y\"}", "no picture: 'image' is missing"},
    {"{\"image\": null, \"text\": \"Q\", \"answer\": \"y\"}", "no picture: 'image' is missing"},
    {"{\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}, {\"from\": \"gpt\", \"value\": \"Hi\"}]}",
     "no picture: 'image' is missing"},
    {"{\"image\": \"\"}", "'image' is empty"},
    {"{\"image\": \" \"}", "'image' is empty"},
    {"{\"image\": \"a\\u0000b\"}", "'image' holds a zero character"},
    {"{\"image\": 3}", "'image' is a number, expected a text"},
    {"{\"image\": []}", "'image' lists 0 pictures, expected one"},
    {"{\"image\": [\"a\", \"b\"]}", "'image' lists 2 pictures, expected one"},
    {"{\"image\": [[\"a\"]]}", "'image' is a list, expected a text"},
    {"{\"id\": 1.5, \"image\": \"a\"}", "its id is no text and no whole number"},
    {"{\"id\": [], \"image\": \"a\"}", "its id is a list, expected a text"},
    {"{\"kind\": 3, \"image\": \"a\"}", "'kind' is a number, expected a text"},
    {"{\"image\": \"a\"}", "neither 'conversations' nor 'text' is there"},
    {"{\"image\": \"a\", \"text\": \"Q\"}", "neither 'answer' nor 'answers' is there"},
    {"{\"image\": \"a\", \"text\": \"\", \"answer\": \"y\"}", "'text' is empty"},
    {"{\"image\": \"a\", \"text\": \"<image>\\n\", \"answer\": \"y\"}", "the question is empty"},
    {"{\"image\": \"a\", \"text\": \"Q <image> Q\", \"answer\": \"y\"}",
     "'<image>' stands inside the question, expected before or behind it"},
    {"{\"image\": \"a\", \"text\": [\"Q\"], \"answer\": \"y\"}", "'text' is a list, expected a text"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answer\": \" \\n\"}", "'answer' is empty"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answer\": true}", "'answer' is true, expected a text"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answer\": \"y<image>\"}",
     "'answer' holds '<image>', expected in the first question alone"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answers\": \"y\"}", "'answers' is a text, expected a list"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answers\": []}", "'answers' is empty"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answers\": [\"y\", \"\"]}", "answer 2 is empty"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answers\": [\"y\", {\"reply\": \"y\"}]}",
     "answer 2 is missing, expected a text"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answers\": [\"y\", [\"y\"]]}", "answer 2 is a list, expected a text"},
    {"{\"image\": \"a\", \"text\": \"Q\", \"answer\": \"n\", \"answers\": [\"y\"]}", "'answer' is none of 'answers'"},
    {"{\"image\": \"a\", \"conversations\": \"Hi\"}", "'conversations' is a text, expected a list"},
    {"{\"image\": \"a\", \"conversations\": []}", "'conversations' is empty"},
    {"{\"image\": \"a\", \"conversations\": [\"Hi\"]}", "message 1 is a text, expected an object"},
    {"{\"image\": \"a\", \"conversations\": [{\"value\": \"Hi\"}]}",
     "message 1: 'from' is none of human, user, gpt, assistant"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"Human\", \"value\": \"Hi\"}]}",
     "message 1: 'from' is none of human, user, gpt, assistant"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"system\", \"value\": \"Be kind.\"}]}",
     "message 1: a system message, which the prompt has no place for"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"Hi\"}]}",
     "message 1: 'from' is 'gpt', but no question stands before it"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHi\"}, "
     "{\"from\": \"user\", \"value\": \"Hello?\"}]}",
     "message 2: 'from' is 'user', but the question before it has no answer"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHi\"}]}",
     "message 1: the last question has no answer"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHi\"}, "
     "{\"from\": \"gpt\", \"value\": \"Hi\"}, {\"from\": \"human\", \"value\": \"And?\"}]}",
     "message 3: the last question has no answer"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHi\"}, {\"from\": \"gpt\"}]}",
     "message 2: 'value' is missing, expected a text"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": 3}]}",
     "message 1: 'value' is a number, expected a text"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"}]}",
     "no '<image>' in its first question"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\n<image>\\nHi\"}]}",
     "'<image>' stands more than once"},
    {"{\"image\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"<image>\\nHi\"}, "
     "{\"from\": \"gpt\", \"value\": \"Hi\"}, {\"from\": \"human\", \"value\": \"<image>\\nAnd?\"}]}",
     "message 3: 'value' holds '<image>', expected in the first question alone"},
};

/* Each alone: behind a good record in a list, and on the third line of lines. */
static void test_broken_records(void **state)
{
    (void)state;
    char text[1024], message[512];
    const struct lq_dataset_options strict = {.strict = true};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        snprintf(text, sizeof text, "[%s,\n\n%s\n]", QUESTION, broken[i].record);
        snprintf(message, sizeof message, ": line 3: record 2: %s", broken[i].why);
        save(text);
        refuse_with(&strict, message);
        snprintf(text, sizeof text, "%s\n\n%s\n", QUESTION, broken[i].record);
        save(text);
        refuse_with(&strict, message);
        snprintf(message, sizeof message,
                 ": 1 of 2 records are broken, more than a tenth; the first: line 3: record 2: %s", broken[i].why);
        refuse_with(NULL, message);
    }
}

static char *repeat(const char *unit, size_t n, const char *end)
{
    size_t m = strlen(unit);
    char *text = malloc(m * n + strlen(end) + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) memcpy(text + i * m, unit, m);
    strcpy(text + m * n, end);
    return text;
}

/* {"image": "a", "text": "Q", "answer": "xxx..."}, n bytes long, and the like. */
static void refuse_long(const char *format, size_t n, const char *why)
{
    char *long_text = repeat("x", n, ""), *text = NULL, message[256];
    assert_true(asprintf(&text, format, long_text) > 0);
    snprintf(message, sizeof message, ": line 1: record 1: %s", why);
    save(text);
    refuse_with(&(struct lq_dataset_options){.strict = true}, message);
    free(long_text);
    free(text);
}

static void test_long_texts(void **state)
{
    (void)state;
    refuse_long("{\"image\": \"%s\"}", 4097, "'image' has 4097 bytes, expected at most 4096");
    refuse_long("{\"image\": \"a\", \"id\": \"%s\"}", 1025, "its id has 1025 bytes, expected at most 1024");
    refuse_long("{\"image\": \"a\", \"text\": \"%s\", \"answer\": \"y\"}", (1 << 20) + 1,
                "'text' has 1048577 bytes, expected at most 1048576");
    char *text = repeat("\"y\",", 256, "\"y\"]}"), *all = NULL;
    assert_true(asprintf(&all, "{\"image\": \"a\", \"text\": \"Q\", \"answers\": [%s", text) > 0);
    save(all);
    refuse_with(&(struct lq_dataset_options){.strict = true},
                ": line 1: record 1: 'answers' lists 257, expected at most 256");
    free(text);
    free(all);
}

/* ---- how many may be broken ---- */

struct heard {
    size_t n;
    char first[512], last[512];
    bool cancel;
};

static void hear(void *data, enum lq_log_level level, const char *message)
{
    struct heard *heard = data;
    assert_int_equal(level, LQ_LOG_WARN);
    if (heard->n++ == 0) snprintf(heard->first, sizeof heard->first, "%s", message);
    snprintf(heard->last, sizeof heard->last, "%s", message);
}

static void save_mixture(size_t n_broken, size_t n_good)
{
    char *first = repeat("{}\n", n_broken, ""), *rest = repeat(GOOD, n_good, ""), *text = NULL;
    assert_true(asprintf(&text, "%s%s", first, rest) > 0);
    save(text);
    free(first);
    free(rest);
    free(text);
}

static void test_a_tenth_broken(void **state)
{
    (void)state;
    struct heard heard = {0};
    const struct lq_hooks hooks = {.data = &heard, .log = hear};
    const struct lq_dataset_options options = {.hooks = &hooks};
    char expected[256];
    save_mixture(1, 9);
    struct lq_dataset *data = load_with(&options);
    assert_int_equal(data->n_records, 9);
    assert_int_equal(data->n_broken, 1);
    assert_string_equal(data->records[0].id, "2");
    assert_int_equal(heard.n, 1);
    snprintf(expected, sizeof expected, "%s: line 1: record 1: no picture: 'image' is missing", path);
    assert_string_equal(heard.first, expected);
    lq_dataset_free(data);
    refuse_with(&(struct lq_dataset_options){.strict = true}, ": line 1: record 1: no picture: 'image' is missing");
    save_mixture(1, 8);
    refuse_with(&options, ": 1 of 9 records are broken, more than a tenth; the first: line 1: record 1: no picture: "
                          "'image' is missing");
    save_mixture(11, 98);
    refuse_with(&options, ": 11 of 109 records are broken, more than a tenth; the first: line 1: record 1: no picture: "
                          "'image' is missing");
    save_mixture(3, 0);
    refuse_with(&options, ": 3 of 3 records are broken, more than a tenth; the first: line 1: record 1: no picture: "
                          "'image' is missing");
}

static void test_broken_ones_are_counted(void **state)
{
    (void)state;
    struct heard heard = {0};
    const struct lq_hooks hooks = {.data = &heard, .log = hear};
    char expected[256];
    save_mixture(10, 90);
    struct lq_dataset *data = load_with(&(struct lq_dataset_options){.hooks = &hooks});
    assert_int_equal(heard.n, 10);
    lq_dataset_free(data);
    heard.n = 0;
    save_mixture(12, 108);
    data = load_with(&(struct lq_dataset_options){.hooks = &hooks});
    assert_int_equal(data->n_broken, 12);
    assert_int_equal(data->n_records, 108);
    assert_int_equal(heard.n, 11);
    snprintf(expected, sizeof expected, "%s: and 2 more broken records", path);
    assert_string_equal(heard.last, expected);
    lq_dataset_free(data);
}

/* ---- files that are no data sets ---- */

#define EXPECTED ", expected a JSON list of records or one JSON object a line, in UTF-8"

static void test_other_files(void **state)
{
    (void)state;
    refuse("", ": the file is empty" EXPECTED);
    refuse("\n \r\n", ": only white space" EXPECTED);
    refuse("\xef\xbb\xbf", ": only white space" EXPECTED);
    refuse("[]", ": an empty list: no record in it");
    refuse("\n\"text\"", ": line 2 begins with '\"'" EXPECTED);
    refuse("question,answer\n", ": line 1 begins with 'q'" EXPECTED);
    refuse("\x01", ": byte 0 is 0x01" EXPECTED);
    refuse("\xfftext", ": byte 0 is 0xff" EXPECTED);
    refuse("GGUF\3", ": this is a GGUF model" EXPECTED);
    refuse("\x89PNG\r\n\x1a\n", ": this is a PNG picture" EXPECTED);
    refuse("\xff\xd8\xff\xe0", ": this is a JPEG picture" EXPECTED);
    refuse("\xff\xfe[", ": this is text in UTF-16" EXPECTED);
    save_bytes("\0[]", 3);
    refuse_with(NULL, ": byte 0 is 0x00" EXPECTED);
}

/* What jansson says follows `message`; it must hold `what`. */
static void refuse_json(const char *text, const char *message, const char *what)
{
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    save(text);
    assert_int_equal(lq_dataset_load(&data, path, &(struct lq_dataset_options){.strict = true}, &err), LQ_ERR_FORMAT);
    assert_null(data);
    assert_memory_equal(err.message, path, strlen(path));
    assert_memory_equal(err.message + strlen(path), message, strlen(message));
    assert_non_null(strstr(err.message + strlen(path) + strlen(message), what));
}

static void test_damaged_lists(void **state)
{
    (void)state;
    char *deep = repeat("[", 100000, "");
    refuse_json("[", ": line 1: record 1: not valid JSON: ", "");
    refuse_json("[" QUESTION ",\n" QUESTION ",\n{\"image\": \"a\"", ": line 3: record 3: not valid JSON: ", "");
    refuse_json("[" QUESTION ",]", ": line 1: record 2: not valid JSON: ", "]");
    refuse_json("[" QUESTION ",\n{\"a\": \"\xff\"}]", ": line 2: record 2: not valid JSON: ", "0xff");
    refuse_json("[{\"a\": 1,\n\"a\": 2}]", ": line 2: record 1: not valid JSON: ", "duplicate");
    refuse_json(deep, ": line 1: record 1: not valid JSON: ", "depth");
    refuse("[" QUESTION "\n", ": line 2: the list is cut off or damaged behind record 1");
    refuse("[" QUESTION "\n" QUESTION "]", ": line 2: the list is cut off or damaged behind record 1");
    refuse("[" QUESTION "]\n]", ": line 2: more text behind the list");
    free(deep);
}

static void test_damaged_lines(void **state)
{
    (void)state;
    refuse_json(QUESTION "\n{\"image\": \"a\",\n", ": line 2: record 2: not valid JSON: column ", "");
    refuse_json(QUESTION "\n{\"a\": \"\xff\"}\n", ": line 2: record 2: not valid JSON: column ", "0xff");
    refuse_json(QUESTION " " QUESTION "\n", ": line 1: record 1: not valid JSON: column ", "");
    refuse_json("{\"id\": 123456789012345678901234567890}", ": line 1: record 1: not valid JSON: column ", "");
    save_bytes(GOOD "\0\n", sizeof GOOD + 1);
    struct lq_dataset *data = NULL;
    assert_int_equal(lq_dataset_load(&data, path, NULL, NULL), LQ_ERR_FORMAT);
    char *good = repeat(GOOD, 9, "{\"image\": \"a\",\n" GOOD GOOD);
    data = load(good);
    assert_int_equal(data->n_records, 11);
    assert_int_equal(data->n_broken, 1);
    assert_string_equal(data->records[9].id, "11");
    lq_dataset_free(data);
    free(good);
}

static void test_unreadable(void **state)
{
    (void)state;
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    char expected[256];
    snprintf(path, sizeof path, "%s/none.json", folder);
    snprintf(expected, sizeof expected, "%s: cannot open: No such file or directory", path);
    assert_int_equal(lq_dataset_load(&data, path, NULL, &err), LQ_ERR_IO);
    assert_string_equal(err.message, expected);
    snprintf(expected, sizeof expected, "%s: not a regular file", folder);
    assert_int_equal(lq_dataset_load(&data, folder, NULL, &err), LQ_ERR_IO);
    assert_string_equal(err.message, expected);
    save("");
    assert_int_equal(truncate(path, (256 << 20) + 1), 0);
    refuse_with(NULL, ": 268435457 bytes, expected at most 268435456");
    assert_null(data);
}

static void test_too_many(void **state)
{
    (void)state;
    char *lines = repeat("1\n", 1000000, "1\n"), *text = NULL;
    assert_true(asprintf(&text, "{}\n%s", lines) > 0);
    save(text);
    refuse_with(NULL, ": line 1000001: more than 1000000 records: split the file");
    free(lines);
    free(text);
}

/* Parsed, small values take far more memory than their text: one record is bounded on its own. */
static void test_huge_records(void **state)
{
    (void)state;
    static const char message[] = ": line 1: record 1: longer than 8388608 bytes";
    const struct lq_dataset_options strict = {.strict = true};
    char *units = repeat("[],", 4 << 20, "[]]}"), *text = NULL;
    assert_true(asprintf(&text, "[{\"a\": [%s]", units) > 0);
    save(text);
    refuse_with(&strict, message);
    save(text + 1);
    refuse_with(&strict, message);
    free(units);
    free(text);
}

static bool say_stop(void *data)
{
    size_t *asked = data;
    return ++*asked == 3;
}

static void test_cancelled(void **state)
{
    (void)state;
    size_t asked = 0;
    struct lq_dataset *data = NULL;
    struct lq_error err = {0};
    const struct lq_hooks hooks = {.data = &asked, .cancelled = say_stop};
    save(GOOD GOOD GOOD GOOD);
    assert_int_equal(lq_dataset_load(&data, path, &(struct lq_dataset_options){.hooks = &hooks}, &err),
                     LQ_ERR_CANCELLED);
    assert_null(data);
    assert_int_equal(asked, 3);
}

/* ---- drawing ---- */

enum { PICTURES = 40, LINES = 3 * PICTURES };

/* Three records for each picture, in the order of `step`; ids from `first_id`. */
static void save_pictures(size_t step, size_t first_id)
{
    char text[LINES * 96] = "";
    for (size_t i = 0, used = 0; i < LINES; i++) {
        size_t k = i * step % LINES;
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"id\": %zu, \"image\": \"%zu.png\", \"text\": \"Q%zu\", \"answer\": \"y\"}\n",
                                 first_id + i, k % PICTURES, k / PICTURES);
    }
    save(text);
}

/* Which pictures were drawn, each with all three of its records, in the file's order. */
static void draw(bool drawn[PICTURES], size_t limit, uint64_t seed, const char *images, size_t step)
{
    size_t seen[PICTURES] = {0}, at = 0, n = 0;
    struct lq_dataset *data = load_with(&(struct lq_dataset_options){.limit = limit, .seed = seed, .images = images});
    assert_int_equal(data->n_pictures, limit);
    assert_int_equal(data->n_records, 3 * limit);
    assert_int_equal(data->n_turns, 3 * limit);
    for (size_t i = 0; i < data->n_records; i++) {
        char name[32];
        size_t picture = strtoul(strrchr(data->records[i].image, '/') + 1, NULL, 10);
        const char *question = data->records[i].turns[0].question;
        assert_in_range(picture, 0, PICTURES - 1);
        seen[picture]++;
        for (; at < LINES; at++) {
            size_t k = at * step % LINES;
            snprintf(name, sizeof name, "Q%zu", k / PICTURES);
            if (k % PICTURES == picture && strcmp(question, name) == 0) break;
        }
        assert_in_range(at, 0, LINES - 1);
    }
    for (size_t i = 0; i < PICTURES; i++) {
        drawn[i] = seen[i] > 0;
        n += drawn[i];
        assert_true(seen[i] == 0 || seen[i] == 3);
    }
    assert_int_equal(n, limit);
    lq_dataset_free(data);
}

static void test_draw(void **state)
{
    (void)state;
    bool first[PICTURES], other[PICTURES];
    save_pictures(1, 0);
    draw(first, 10, 1, NULL, 1);
    draw(other, 10, 1, NULL, 1);
    assert_memory_equal(first, other, sizeof first);
    draw(other, 10, 1, "/elsewhere", 1);
    assert_memory_equal(first, other, sizeof first);
    draw(other, 10, 2, NULL, 1);
    assert_memory_not_equal(first, other, sizeof first);
    draw(other, 11, 1, NULL, 1);
    for (size_t i = 0; i < PICTURES; i++) assert_true(!first[i] || other[i]);
    save_pictures(1, 1000);
    draw(other, 10, 1, NULL, 1);
    assert_memory_equal(first, other, sizeof first);
    save_pictures(7, 0);
    draw(other, 10, 1, NULL, 7);
    assert_memory_equal(first, other, sizeof first);
}

/* The same everywhere: written down once, from the description in dataset_draw.h. */
static void test_draw_is_the_documented_one(void **state)
{
    (void)state;
    static const size_t expected[] = {5, 38, 28, 32, 34};
    bool drawn[PICTURES], wanted[PICTURES] = {false};
    for (size_t i = 0; i < 5; i++) wanted[expected[i]] = true;
    save_pictures(1, 0);
    draw(drawn, 5, 4242, NULL, 1);
    assert_memory_equal(drawn, wanted, sizeof drawn);
}

static void test_draw_everything(void **state)
{
    (void)state;
    static const size_t limits[] = {0, PICTURES, PICTURES + 1};
    save_pictures(1, 0);
    for (size_t i = 0; i < 3; i++) {
        struct lq_dataset *data = load_with(&(struct lq_dataset_options){.limit = limits[i], .seed = 3});
        assert_int_equal(data->n_pictures, PICTURES);
        assert_int_equal(data->n_records, LINES);
        for (size_t k = 0; k < LINES; k++) assert_int_equal(strtoul(data->records[k].id, NULL, 10), k);
        lq_dataset_free(data);
    }
}

/* Each picture is drawn about as often as any other: a chi-squared of 39 degrees of freedom stays below 80 with
 * a probability of 0.9999. */
static void test_draw_is_even(void **state)
{
    (void)state;
    enum { DRAWS = 400, EACH = 10 };
    size_t times[PICTURES] = {0};
    double chi = 0, wanted = (double)DRAWS * EACH / PICTURES;
    save_pictures(1, 0);
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        bool drawn[PICTURES];
        draw(drawn, EACH, seed, NULL, 1);
        for (size_t i = 0; i < PICTURES; i++) times[i] += drawn[i];
    }
    for (size_t i = 0; i < PICTURES; i++) chi += ((double)times[i] - wanted) * ((double)times[i] - wanted) / wanted;
    assert_true(chi < 80);
}

/* ---- the hash, and the demo's own sets ---- */

static void test_hash(void **state)
{
    (void)state;
    struct lq_dataset *a = load(GOOD), *b = load(GOOD), *c = load(GOOD "\n");
    assert_string_equal(a->hash, "fb0b3a812ccf22f998b673bb6e24d1f7"); /* in XXH128's canonical form */
    assert_string_equal(a->hash, b->hash);
    assert_string_not_equal(a->hash, c->hash);
    lq_dataset_free(a);
    lq_dataset_free(b);
    lq_dataset_free(c);
}

static void check_demo(const char *name, size_t n_records, size_t n_pictures, size_t n_turns)
{
    snprintf(path, sizeof path, "%s/%s", LQ_DEMO, name);
    struct lq_dataset *data = load_with(&(struct lq_dataset_options){.strict = true});
    assert_int_equal(data->n_records, n_records);
    assert_int_equal(data->n_pictures, n_pictures);
    assert_int_equal(data->n_turns, n_turns);
    for (size_t i = 0; i < data->n_records; i++) {
        assert_int_equal(access(data->records[i].image, R_OK), 0);
        assert_int_equal(data->records[i].kind[0] == '\0', n_turns > n_records);
        for (size_t t = 0; t < data->records[i].n_turns; t++)
            assert_null(strchr(data->records[i].turns[t].question, '<'));
    }
    lq_dataset_free(data);
}

static void test_demo(void **state)
{
    (void)state;
    check_demo("exam.jsonl", 600, 300, 600);
    check_demo("calibration.json", 128, 128, 768);
}

/* Each example in docs/data-sets.md that is JSON is a data set without a fault. */
static void test_documented_examples(void **state)
{
    (void)state;
    char line[1024], text[8192] = "";
    size_t n_examples = 0;
    FILE *page = fopen(LQ_TESTS "/../docs/data-sets.md", "r");
    assert_non_null(page);
    while (fgets(line, sizeof line, page) != NULL) {
        bool inside = strncmp(line, "    ", 4) == 0 && (text[0] != '\0' || strchr("[{", line[4]) != NULL);
        if (inside) {
            assert_true(strlen(text) + strlen(line) < sizeof text);
            strcat(text, line + 4);
        } else if (text[0] != '\0') {
            save(text);
            lq_dataset_free(load_with(&(struct lq_dataset_options){.strict = true}));
            text[0] = '\0';
            n_examples++;
        }
    }
    fclose(page);
    assert_int_equal(n_examples, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_containers),
        TEST(test_conversation),
        TEST(test_marks),
        TEST(test_answers),
        TEST(test_names),
        TEST(test_images),
        TEST(test_images_of_a_bare_name),
        TEST(test_broken_records),
        TEST(test_long_texts),
        TEST(test_a_tenth_broken),
        TEST(test_broken_ones_are_counted),
        TEST(test_other_files),
        TEST(test_damaged_lists),
        TEST(test_damaged_lines),
        TEST(test_unreadable),
        TEST(test_too_many),
        TEST(test_huge_records),
        TEST(test_cancelled),
        TEST(test_draw),
        TEST(test_draw_is_the_documented_one),
        TEST(test_draw_everything),
        TEST(test_draw_is_even),
        TEST(test_hash),
        TEST(test_demo),
        TEST(test_documented_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
