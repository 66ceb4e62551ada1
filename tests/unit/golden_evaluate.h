/* tests/golden/evaluate.json, parsed; make_evaluate.py says how its numbers were made. */
#ifndef LQ_TESTS_GOLDEN_EVALUATE_H
#define LQ_TESTS_GOLDEN_EVALUATE_H

#include <jansson.h>

static json_t *golden;

static int load_golden(void **state)
{
    (void)state;
    golden = json_load_file(LQ_TESTS "/golden/evaluate.json", 0, NULL);
    return golden == NULL;
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

#endif
