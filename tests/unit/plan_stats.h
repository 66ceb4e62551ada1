/* A small statistics file for tests of the plan room. Comes behind cmocka.h. */
#ifndef LQ_TESTS_PLAN_STATS_H
#define LQ_TESTS_PLAN_STATS_H

#include "llava_quantize/calibrate.h"

#include <stdio.h>
#include <string.h>

static inline void put_i32(FILE *f, int32_t value)
{
    assert_int_equal(fwrite(&value, sizeof value, 1, f), 1);
}

/* Importance data for one tensor of 768 columns, in the older binary form. */
static inline struct lq_stats *imatrix_for(const char *name, const char *path)
{
    struct lq_stats *stats = NULL;
    struct lq_error err = {0};
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    put_i32(f, 1);
    put_i32(f, (int32_t)strlen(name));
    fputs(name, f);
    put_i32(f, 1);
    put_i32(f, 768);
    for (int i = 0; i < 768; i++) assert_int_equal(fwrite(&(float){1}, sizeof(float), 1, f), 1);
    fclose(f);
    if (lq_stats_load(&stats, path, &err) != LQ_OK) fail_msg("%s", err.message);
    return stats;
}

#endif
