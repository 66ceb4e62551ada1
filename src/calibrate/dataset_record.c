#include "calibrate/dataset_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "<image>"
enum {
    LONGEST_TEXT = 1 << 20, /* bytes of a question or an answer */
    LONGEST_PATH = 4096,
    LONGEST_NAME = 1024, /* of an id or a kind */
    MOST_ANSWERS = 256,  /* of one question */
    MOST_MESSAGES = 4096,
};

/* A record while it is read: every text is borrowed, from the JSON value or from `made`. */
struct draft {
    struct lq_record record;
    struct lq_turn *turns;
    const char **answers; /* of all turns, one turn after the other */
    size_t n_answers;
    json_t *made; /* texts that are not in the JSON value as such: numbers, questions without their mark */
};

static enum lq_status no_memory(struct lq_error *err)
{
    return lq_error_set(err, LQ_ERR_MEMORY, "no memory for a record");
}

static const char *kind_of(const json_t *value)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "a text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",    [JSON_TRUE] = "true",    [JSON_FALSE] = "false",   [JSON_NULL] = "null",
    };
    return value == NULL ? "missing" : kinds[json_typeof(value)];
}

/* NULL where the key is absent or null. */
static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum lq_status check_list(const json_t *value, const char *what, size_t most, struct lq_error *err)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s is %s, expected a list", what, kind_of(value));
    if (n == 0) return lq_error_set(err, LQ_ERR_FORMAT, "%s is empty", what);
    if (n <= most) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s lists %zu, expected at most %zu", what, n, most);
}

/* ---- texts ---- */

static size_t blanks_at(const char *text)
{
    return strspn(text, " \t\r\n");
}

static bool is_blank(const char *text)
{
    return text[blanks_at(text)] == '\0';
}

/* Keeps a text of n bytes with the draft. */
static enum lq_status make_text(struct draft *d, const char *text, size_t n, const char **out, struct lq_error *err)
{
    json_t *made = json_stringn(text, n);
    if (d->made == NULL) d->made = json_array();
    if (json_array_append_new(d->made, made) != 0) return no_memory(err);
    *out = json_string_value(made);
    return LQ_OK;
}

/* `what` names it in messages: "'image'". */
static enum lq_status read_text(const json_t *value, const char *what, size_t longest, const char **out,
                                struct lq_error *err)
{
    size_t n = json_string_length(value);
    if (!json_is_string(value))
        return lq_error_set(err, LQ_ERR_FORMAT, "%s is %s, expected a text", what, kind_of(value));
    if (n > longest)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s has %zu bytes, expected at most %zu", what, n, longest);
    if (strlen(json_string_value(value)) != n)
        return lq_error_set(err, LQ_ERR_FORMAT, "%s holds a zero character", what);
    if (is_blank(json_string_value(value))) return lq_error_set(err, LQ_ERR_FORMAT, "%s is empty", what);
    *out = json_string_value(value);
    return LQ_OK;
}

/* A text, or a number as its shortest text of at most 15 digits. */
static enum lq_status read_text_or_number(struct draft *d, const json_t *value, const char *what, size_t longest,
                                          const char **out, struct lq_error *err)
{
    char digits[64];
    if (!json_is_number(value)) return read_text(value, what, longest, out, err);
    size_t n = json_dumpb(value, digits, sizeof digits, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    return n > 0 && n <= sizeof digits ? make_text(d, digits, n, out, err) : no_memory(err);
}

/* ---- questions and answers ---- */

/* The question without its mark and the white space around it. The mark stands for the picture, which the prompt has
 * before the question; LLaVA's data have it on a line of its own before or behind the words. */
static enum lq_status take_mark(struct draft *d, const char **question, bool wanted, struct lq_error *err)
{
    const char *text = *question + blanks_at(*question), *mark = strstr(text, MARK);
    size_t n = strlen(text), n_mark = strlen(MARK);
    if (mark == NULL && wanted) return lq_error_set(err, LQ_ERR_FORMAT, "no '" MARK "' in its first question");
    if (mark == NULL) return LQ_OK;
    if (strstr(mark + n_mark, MARK) != NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "'" MARK "' stands more than once");
    bool first = mark == text;
    if (!first && !is_blank(mark + n_mark))
        return lq_error_set(err, LQ_ERR_FORMAT, "'" MARK "' stands inside the question, expected before or behind it");
    n = first ? n - n_mark : (size_t)(mark - text);
    text += first ? n_mark : 0;
    size_t before = blanks_at(text);
    if (before >= n) return lq_error_set(err, LQ_ERR_FORMAT, "the question is empty");
    while (strchr(" \t\r\n", text[n - 1]) != NULL) n--;
    return make_text(d, text + before, n - before, question, err);
}

static enum lq_status refuse_mark(const char *text, const char *what, struct lq_error *err)
{
    if (strstr(text, MARK) == NULL) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "%s holds '" MARK "', expected in the first question alone", what);
}

static enum lq_status add_answer(struct draft *d, struct lq_turn *turn, const json_t *value, const char *what,
                                 struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = read_text_or_number(d, value, what, LONGEST_TEXT, &text, err);
    if (status == LQ_OK) status = refuse_mark(text, what, err);
    if (status != LQ_OK) return status;
    d->answers[d->n_answers++] = text;
    turn->n_answers++;
    return LQ_OK;
}

/* Room for so many turns and answers. */
static enum lq_status make_room(struct draft *d, size_t n_turns, size_t n_answers, struct lq_error *err)
{
    d->turns = calloc(n_turns, sizeof *d->turns);
    d->answers = calloc(n_answers, sizeof *d->answers);
    return d->turns != NULL && d->answers != NULL ? LQ_OK : no_memory(err);
}

static size_t count_of(const struct lq_turn *turn, const char *answer)
{
    size_t n = 0;
    for (size_t i = 0; i < turn->n_answers; i++) n += strcmp(turn->answers[i], answer) == 0;
    return n;
}

static size_t likeliest_of(const struct lq_turn *turn)
{
    size_t best = 0, most = 0;
    for (size_t i = 0; i < turn->n_answers; i++) {
        size_t n = count_of(turn, turn->answers[i]);
        if (n <= most) continue;
        most = n;
        best = i;
    }
    return best;
}

/* ---- LLaVA's conversations ---- */

enum speaker { HUMAN, MODEL, SYSTEM };

static const struct {
    const char *name;
    enum speaker speaker;
} speakers[] = {{"human", HUMAN}, {"user", HUMAN}, {"gpt", MODEL}, {"assistant", MODEL}, {"system", SYSTEM}};

/* Human and model take turns; `i` is the message's place. */
static enum lq_status check_speaker(const json_t *message, size_t i, struct lq_error *err)
{
    size_t n = sizeof speakers / sizeof *speakers, k = 0;
    const char *name = json_string_value(json_object_get(message, "from"));
    if (!json_is_object(message))
        return lq_error_set(err, LQ_ERR_FORMAT, "message %zu is %s, expected an object", i + 1, kind_of(message));
    while (k < n && (name == NULL || strcmp(name, speakers[k].name) != 0)) k++;
    if (k == n)
        return lq_error_set(err, LQ_ERR_FORMAT, "message %zu: 'from' is none of human, user, gpt, assistant", i + 1);
    if (speakers[k].speaker == SYSTEM)
        return lq_error_set(err, LQ_ERR_FORMAT, "message %zu: a system message, which the prompt has no place for",
                            i + 1);
    if (speakers[k].speaker == (i % 2 == 0 ? HUMAN : MODEL)) return LQ_OK;
    return lq_error_set(err, LQ_ERR_FORMAT, "message %zu: 'from' is '%s', but %s", i + 1, name,
                        i % 2 == 0 ? "no question stands before it" : "the question before it has no answer");
}

static enum lq_status read_question(struct draft *d, const json_t *value, size_t i, const char *what,
                                    struct lq_error *err)
{
    const char **question = &d->turns[i / 2].question;
    enum lq_status status = read_text(value, what, LONGEST_TEXT, question, err);
    if (status != LQ_OK) return status;
    return i == 0 ? take_mark(d, question, true, err) : refuse_mark(*question, what, err);
}

static enum lq_status read_message(struct draft *d, const json_t *message, size_t i, struct lq_error *err)
{
    char what[64];
    snprintf(what, sizeof what, "message %zu: 'value'", i + 1);
    enum lq_status status = check_speaker(message, i, err);
    if (status != LQ_OK) return status;
    const json_t *value = get(message, "value");
    struct lq_turn *turn = &d->turns[i / 2];
    if (i % 2 == 0) return read_question(d, value, i, what, err);
    turn->answers = d->answers + d->n_answers;
    return add_answer(d, turn, value, what, err);
}

static enum lq_status read_conversation(struct draft *d, const json_t *messages, struct lq_error *err)
{
    size_t n = json_array_size(messages);
    enum lq_status status = check_list(messages, "'conversations'", MOST_MESSAGES, err);
    if (status != LQ_OK) return status;
    status = make_room(d, (n + 1) / 2, (n + 1) / 2, err);
    for (size_t i = 0; i < n && status == LQ_OK; i++) status = read_message(d, json_array_get(messages, i), i, err);
    if (status == LQ_OK && n % 2 != 0)
        status = lq_error_set(err, LQ_ERR_FORMAT, "message %zu: the last question has no answer", n);
    d->record.n_turns = n / 2;
    return status;
}

/* ---- question lines ---- */

static enum lq_status read_answers(struct draft *d, const json_t *answers, struct lq_error *err)
{
    char what[64];
    size_t n = json_array_size(answers);
    enum lq_status status = check_list(answers, "'answers'", MOST_ANSWERS, err);
    if (status != LQ_OK) return status;
    status = make_room(d, 1, n, err);
    for (size_t i = 0; i < n && status == LQ_OK; i++) {
        const json_t *value = json_array_get(answers, i);
        snprintf(what, sizeof what, "answer %zu", i + 1);
        status = add_answer(d, d->turns, json_is_object(value) ? get(value, "answer") : value, what, err);
    }
    if (status != LQ_OK) return status;
    d->turns->answers = d->answers;
    d->turns->likeliest = likeliest_of(d->turns);
    return LQ_OK;
}

/* Beside 'answers', 'answer' names the one to be teacher-forced. */
static enum lq_status choose_answer(struct draft *d, const json_t *answer, struct lq_error *err)
{
    const char *text = NULL;
    enum lq_status status = read_text_or_number(d, answer, "'answer'", LONGEST_TEXT, &text, err);
    if (status != LQ_OK) return status;
    for (size_t i = 0; i < d->turns->n_answers; i++) {
        if (strcmp(d->answers[i], text) != 0) continue;
        d->turns->likeliest = i;
        return LQ_OK;
    }
    return lq_error_set(err, LQ_ERR_FORMAT, "'answer' is none of 'answers'");
}

static enum lq_status read_answer(struct draft *d, const json_t *answer, struct lq_error *err)
{
    enum lq_status status = make_room(d, 1, 1, err);
    if (status != LQ_OK) return status;
    d->turns->answers = d->answers;
    return add_answer(d, d->turns, answer, "'answer'", err);
}

static enum lq_status read_question_line(struct draft *d, const json_t *object, struct lq_error *err)
{
    const json_t *text = get(object, "text"), *answer = get(object, "answer"), *answers = get(object, "answers");
    if (text == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "neither 'conversations' nor 'text' is there");
    if (answer == NULL && answers == NULL)
        return lq_error_set(err, LQ_ERR_FORMAT, "neither 'answer' nor 'answers' is there");
    enum lq_status status = answers != NULL ? read_answers(d, answers, err) : read_answer(d, answer, err);
    if (status == LQ_OK && answers != NULL && answer != NULL) status = choose_answer(d, answer, err);
    if (status == LQ_OK) status = read_text(text, "'text'", LONGEST_TEXT, &d->turns->question, err);
    if (status == LQ_OK) status = take_mark(d, &d->turns->question, false, err);
    d->record.n_turns = 1;
    return status;
}

/* ---- what both forms have ---- */

static enum lq_status read_image(struct draft *d, const json_t *object, struct lq_error *err)
{
    const json_t *image = get(object, "image");
    size_t n = json_array_size(image);
    if (image == NULL) return lq_error_set(err, LQ_ERR_FORMAT, "no picture: 'image' is missing");
    if (json_is_array(image) && n != 1)
        return lq_error_set(err, LQ_ERR_FORMAT, "'image' lists %zu pictures, expected one", n);
    if (json_is_array(image)) image = json_array_get(image, 0);
    return read_text(image, "'image'", LONGEST_PATH, &d->record.image, err);
}

static enum lq_status read_names(struct draft *d, const json_t *object, size_t number, struct lq_error *err)
{
    const json_t *id = get(object, "id"), *kind = get(object, "kind");
    char digits[32];
    enum lq_status status = LQ_OK;
    if (id == NULL) id = get(object, "question_id");
    if (id == NULL) {
        int n = snprintf(digits, sizeof digits, "%zu", number);
        status = make_text(d, digits, (size_t)n, &d->record.id, err);
    } else if (json_is_real(id)) {
        status = lq_error_set(err, LQ_ERR_FORMAT, "its id is no text and no whole number");
    } else {
        status = read_text_or_number(d, id, "its id", LONGEST_NAME, &d->record.id, err);
    }
    d->record.kind = "";
    if (json_is_string(kind) && is_blank(json_string_value(kind))) return status;
    if (status == LQ_OK && kind != NULL) status = read_text(kind, "'kind'", LONGEST_NAME, &d->record.kind, err);
    return status;
}

/* ---- one block of memory for the record: turns, answers, text ---- */

static size_t text_bytes(const struct draft *d, const char *folder)
{
    const struct lq_record *r = &d->record;
    size_t n = strlen(r->id) + strlen(r->kind) + strlen(folder) + strlen(r->image) + 3;
    for (size_t i = 0; i < r->n_turns; i++) n += strlen(d->turns[i].question) + 1;
    for (size_t i = 0; i < d->n_answers; i++) n += strlen(d->answers[i]) + 1;
    return n;
}

/* Appends a text, here with another before it, and returns where it stands. */
static const char *put(char **at, const char *before, const char *text)
{
    char *start = *at;
    size_t n = strlen(before), m = strlen(text) + 1;
    memcpy(start, before, n);
    memcpy(start + n, text, m);
    *at += n + m;
    return start;
}

static enum lq_status pack(struct lq_record *out, const struct draft *d, const char *folder, struct lq_error *err)
{
    size_t n_turns = d->record.n_turns;
    struct lq_turn *turns = malloc(n_turns * sizeof *turns + d->n_answers * sizeof *d->answers + text_bytes(d, folder));
    if (turns == NULL) return no_memory(err);
    const char **answers = (const char **)(turns + n_turns);
    char *at = (char *)(answers + d->n_answers);
    *out = (struct lq_record){.n_turns = n_turns, .turns = turns};
    out->id = put(&at, "", d->record.id);
    out->kind = put(&at, "", d->record.kind);
    out->image = put(&at, d->record.image[0] == '/' ? "" : folder, d->record.image);
    for (size_t i = 0; i < d->n_answers; i++) answers[i] = put(&at, "", d->answers[i]);
    for (size_t i = 0; i < n_turns; i++) {
        turns[i] = d->turns[i];
        turns[i].question = put(&at, "", d->turns[i].question);
        turns[i].answers = answers + (d->turns[i].answers - d->answers);
    }
    return LQ_OK;
}

enum lq_status lq_dataset_record_read(struct lq_record *out, const json_t *value, const char *folder, size_t number,
                                      struct lq_error *err)
{
    struct draft d = {.turns = NULL};
    if (!json_is_object(value))
        return lq_error_set(err, LQ_ERR_FORMAT, "the record is %s, expected an object", kind_of(value));
    const json_t *conversation = get(value, "conversations");
    enum lq_status status = read_names(&d, value, number, err);
    if (status == LQ_OK) status = read_image(&d, value, err);
    if (status == LQ_OK)
        status = conversation != NULL ? read_conversation(&d, conversation, err) : read_question_line(&d, value, err);
    if (status == LQ_OK) status = pack(out, &d, folder, err);
    free(d.turns);
    free(d.answers);
    json_decref(d.made);
    return status;
}

void lq_dataset_record_release(struct lq_record *record)
{
    free((void *)record->turns);
    *record = (struct lq_record){0};
}
