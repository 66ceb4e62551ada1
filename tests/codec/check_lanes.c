/* The operations that kernels are written in, one by one: those that no kernel puts to the test today, too. */
#include "checkasm.h"
#include "lane_ops.h"
#include "weights.h"

#include <string.h>

enum { ROUNDS = 2000 };

static void fill_input(struct op_input *in)
{
    fill_weights(in->a, OP_WIDTH, random_bits() % 2 == 0 ? ANY_BITS : MIXED);
    fill_weights(in->b, OP_WIDTH, random_bits() % 2 == 0 ? ANY_BITS : ZEROS);
    fill_weights(in->c, OP_WIDTH, ANY_BITS);
    fill_weights(in->table, 8, ANY_BITS);
    fill_halves(in->halves, OP_WIDTH, ANY_BITS);
    fill_bytes(in->bytes, OP_WIDTH);
    for (int i = 0; i < OP_WIDTH; i++) in->index[i] = (float)(random_bits() % 8000) / 1000;
    if (random_bits() % 2 == 0) memcpy(in->b, in->a, sizeof in->b / 2); /* equal ones */
    if (random_bits() % 4 == 0) memcpy(in->b, in->a, sizeof in->b);
}

void check_lanes(const struct run *run)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct op_input in;
        fill_input(&in);
        for (const struct lane_op *op = lane_ops_scalar; op->name != NULL; op++) {
            float expected[OP_WIDTH] = {0}, found[OP_WIDTH];
            size_t where = 0;
            op->run(&in, expected);
            for (size_t s = 0; s < run->n_subjects; s++) {
                const char *name = run->subjects[s].name;
                now("%s: %s", name, op->name);
                memset(found, 0, sizeof found);
                run->subjects[s].ops[op - lane_ops_scalar].run(&in, found);
                if (!same(found, expected, sizeof found, op->any_nan ? sizeof *found : 0, &where))
                    failed(name, "differs at byte %zu", where);
            }
        }
    }
}
