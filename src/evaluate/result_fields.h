/* The members of a JSON document, as one table that writing, reading, clearing and freeing all follow.
 *
 * Enters: nothing. Leaves: lq_result_fields, a tree of fields, each with its JSON name and its place in the struct;
 * reading for other documents' tables too.
 * Invariants: the order of the table is the order in the file; an object without a struct of its own (a group) has
 * offset 0, so that the file may be ordered otherwise than struct lq_evaluation.
 *
 *     lq_fields_clear(&lq_result_fields, evaluation);    // nothing measured
 *     lq_fields_release(&lq_result_fields, evaluation);  // frees texts and lists, not the struct
 */
#ifndef LQ_EVALUATE_RESULT_FIELDS_H
#define LQ_EVALUATE_RESULT_FIELDS_H

#include "llava_quantize/base.h"

enum lq_field_kind {
    LQ_FIELD_NUMBER,   /* double in low .. high; null: NaN */
    LQ_FIELD_COUNT,    /* uint64_t; null: 0 */
    LQ_FIELD_THREADS,  /* unsigned */
    LQ_FIELD_BLOCK,    /* int, -1 or more */
    LQ_FIELD_FLAG,     /* bool */
    LQ_FIELD_TEXT,     /* char *; NULL is written as "" */
    LQ_FIELD_OPTIONAL, /* char *; null: NULL */
    LQ_FIELD_SHA256,   /* char[65]; null: "" */
    LQ_FIELD_HALF,     /* enum lq_half by name */
    LQ_FIELD_ROLE,     /* enum lq_role by name */
    LQ_FIELD_TYPE,     /* enum lq_type by name */
    LQ_FIELD_OBJECT,   /* a struct or a group */
    LQ_FIELD_IF_TRUE,  /* the same, null unless the bool at `guard` is true */
    LQ_FIELD_IF_TEXT,  /* the same, null unless the char * at `guard` is set */
    LQ_FIELD_LIST,     /* a pointer to structs of `size` bytes, as many as the size_t at `guard` says */
    LQ_FIELD_KINDS
};

struct lq_fields;

struct lq_field {
    const char *name;
    enum lq_field_kind kind;
    size_t offset;                 /* in the struct of the table that it stands in */
    double low, high;              /* of a number */
    const struct lq_fields *inner; /* of objects and lists */
    size_t guard;                  /* offset in the same struct as `offset` */
    size_t size;                   /* of a list's element */
};

struct lq_fields {
    size_t n;
    const struct lq_field *fields;
};

/* Of struct lq_evaluation. */
extern const struct lq_fields lq_result_fields;

void lq_fields_clear(const struct lq_fields *table, void *base);
void lq_fields_release(const struct lq_fields *table, void *base);

/* An object that says what it is by "format" and "version", and has the members of a table. */
struct lq_document {
    const char *format, *what, *writer; /* "llava-quantize evaluation", "the result of an evaluation", "eval" */
    uint32_t version;
    const struct lq_fields *fields;
};
/* Into the cleared struct at `base`, which is the caller's to release on failure too; `name` stands in messages.
 * Unknown members are let pass, missing ones stay as they are. Errors: LQ_ERR_FORMAT, LQ_ERR_UNSUPPORTED for another
 * version. */
enum lq_status lq_document_read(const struct lq_document *document, const char *text, size_t size, const char *name,
                                void *base, struct lq_error *err);

#endif
