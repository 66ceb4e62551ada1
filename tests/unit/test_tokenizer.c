/* The SentencePiece reader: the demo's own tokenizer, made-up ones, and what is cut off or lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/file.h"
#include "bytes.h"
#include "model/tokenizer.h"

static struct lq_error err;

static void put_key(struct bytes *b, unsigned number, unsigned wire)
{
    if (number >= 16) put_u8(b, (uint8_t)((number << 3 | wire) | 0x80));
    put_u8(b, number >= 16 ? (uint8_t)(number >> 4) : (uint8_t)(number << 3 | wire));
}

static void put_message(struct bytes *b, unsigned number, const struct bytes *inner)
{
    put_key(b, number, 2);
    put_u8(b, (uint8_t)inner->n);
    put(b, inner->data, inner->n);
}

static void put_piece(struct bytes *b, const char *text, float score, unsigned type)
{
    struct bytes piece = {0};
    put_key(&piece, 1, 2);
    put_u8(&piece, (uint8_t)strlen(text));
    put(&piece, text, strlen(text));
    put_key(&piece, 2, 5);
    put_f32(&piece, score);
    put_key(&piece, 3, 0);
    put_u8(&piece, (uint8_t)type);
    put_message(b, 1, &piece);
}

static enum lq_status parse(struct lq_tokenizer *t, const struct bytes *b)
{
    return lq_tokenizer_parse(t, b->data, b->n, "t.model", &err);
}

static void demo_is_read_whole(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size = 0;
    struct lq_tokenizer t = {0};
    assert_int_equal(lq_file_load(LQ_DEMO "/model/tokenizer.model", 1 << 20, &data, &size, &err), LQ_OK);
    assert_int_equal(lq_tokenizer_parse(&t, data, size, "t.model", &err), LQ_OK);
    assert_int_equal(t.n, 510);
    assert_int_equal(t.model, LQ_PIECE_MODEL_BPE);
    assert_int_equal(t.bos, 1);
    assert_int_equal(t.eos, 2);
    assert_int_equal(t.pad, -1);
    assert_string_equal(t.pieces[1].text, "<s>");
    assert_int_equal(t.pieces[1].type, LQ_PIECE_CONTROL);
    assert_int_equal(t.pieces[lq_tokenizer_find(&t, "<0x0A>")].type, LQ_PIECE_BYTE);
    lq_tokenizer_release(&t);
    free(data);
}

static void defaults_are_those_of_the_format(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct lq_tokenizer t = {0};
    put_piece(&b, "a", -1.5f, LQ_PIECE_NORMAL);
    assert_int_equal(parse(&t, &b), LQ_OK);
    assert_int_equal(t.n, 1);
    assert_true(t.pieces[0].score == -1.5f);
    assert_int_equal(t.model, LQ_PIECE_MODEL_UNIGRAM);
    assert_int_equal(t.unk, 0);
    assert_int_equal(t.bos, 1);
    assert_int_equal(t.eos, 2);
    assert_true(t.add_dummy_prefix);
    lq_tokenizer_release(&t);
}

static void settings_are_read_and_unknown_fields_skipped(void **state)
{
    (void)state;
    struct bytes b = {0}, trainer = {0}, normalizer = {0};
    struct lq_tokenizer t = {0};
    put_key(&trainer, 3, 0);
    put_u8(&trainer, LQ_PIECE_MODEL_BPE);
    put_key(&trainer, 41, 0); /* bos_id = -1, as protobuf writes it: ten bytes */
    for (int i = 0; i < 9; i++) put_u8(&trainer, 0xff);
    put_u8(&trainer, 1);
    put_key(&trainer, 42, 0);
    put_u8(&trainer, 7);
    put_key(&normalizer, 3, 0);
    put_u8(&normalizer, 0);
    put_key(&b, 9, 1);
    put_zeros(&b, 8);
    put_piece(&b, "a", 0, LQ_PIECE_NORMAL);
    put_message(&b, 2, &trainer);
    put_message(&b, 3, &normalizer);
    assert_int_equal(parse(&t, &b), LQ_OK);
    assert_int_equal(t.model, LQ_PIECE_MODEL_BPE);
    assert_int_equal(t.bos, -1);
    assert_int_equal(t.eos, 7);
    assert_false(t.add_dummy_prefix);
    lq_tokenizer_release(&t);
}

/* Every shorter file is either refused or holds fewer pieces; none is read beyond its end (the sanitizers watch). */
static void cut_files_never_read_on(void **state)
{
    (void)state;
    struct bytes b = {0};
    for (int i = 0; i < 4; i++) put_piece(&b, "word", 0, LQ_PIECE_NORMAL);
    for (size_t n = 0; n < b.n; n++) {
        struct lq_tokenizer t = {0};
        char *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, b.data, n);
        if (lq_tokenizer_parse(&t, copy, n, "t.model", &err) == LQ_OK) assert_true(t.n < 4);
        else assert_int_equal(err.status, LQ_ERR_FORMAT);
        lq_tokenizer_release(&t);
        free(copy);
    }
}

static void refused(const struct bytes *b, const char *message)
{
    struct lq_tokenizer t = {0};
    assert_int_equal(parse(&t, b), LQ_ERR_FORMAT);
    assert_string_equal(err.message, message);
    assert_null(t.pieces);
}

static void lies_are_refused(void **state)
{
    (void)state;
    struct bytes empty = {0}, type = {0}, score = {0}, length = {0}, group = {0};
    put_piece(&type, "a", 0, 9);
    put_piece(&score, "a", 0, LQ_PIECE_NORMAL);
    memset(score.data + score.n - 6, 0xff, 4); /* the score's four bytes: not a number */
    put_key(&length, 1, 2);
    for (int i = 0; i < 9; i++) put_u8(&length, 0xff);
    put_u8(&length, 1);
    put_key(&group, 1, 3);
    refused(&empty, "t.model: not a SentencePiece model: it holds no pieces");
    refused(&type, "t.model: not a SentencePiece model: a piece of unknown type");
    refused(&score, "t.model: not a SentencePiece model: a score that is not finite");
    refused(&length, "t.model: not a SentencePiece model: it is cut off");
    refused(&group, "t.model: not a SentencePiece model: it is cut off");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demo_is_read_whole),
        cmocka_unit_test(defaults_are_those_of_the_format),
        cmocka_unit_test(settings_are_read_and_unknown_fields_skipped),
        cmocka_unit_test(cut_files_never_read_on),
        cmocka_unit_test(lies_are_refused),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
