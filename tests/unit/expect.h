/* How tests look at what a function of the library returned. Include it behind cmocka.h and the library's headers.
 *
 *     expect(lq_model_open(&model, path, NULL, &err));
 *     refuse(lq_model_open(&model, "none", NULL, &err), LQ_ERR_IO, "cannot open");
 */
#ifndef TESTS_EXPECT_H
#define TESTS_EXPECT_H

#include "llava_quantize/base.h"

#include <string.h>

static struct lq_error err;

static inline void expect(enum lq_status status)
{
    if (status != LQ_OK) fail_msg("%s", err.message);
}

static inline void refuse(enum lq_status status, enum lq_status expected, const char *message)
{
    assert_int_equal(status, expected);
    if (strstr(err.message, message) == NULL) fail_msg("'%s' instead of '%s'", err.message, message);
}

#endif
