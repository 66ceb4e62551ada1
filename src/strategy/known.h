/* What earlier runs found out, as the statistics file keeps it.
 *
 * Enters: the statistics file, what the numbers depend on. Leaves: errors of tensors in types, divergences of groups.
 * Invariants: what was measured on other terms is not found; a file that cannot hold measurements (llama.cpp's older
 * form), or cannot be written, is told to the log and costs nothing but time.
 *
 *     lq_known_open(&known, &options, rows, limit, &err);       // NULL without a cache
 *     if (!lq_known_error(known, tensor, type, columns, &e)) lq_known_keep_error(known, tensor, type, columns, e, &err);
 *     lq_known_save(known, options.hooks);
 */
#ifndef LQ_STRATEGY_KNOWN_H
#define LQ_STRATEGY_KNOWN_H

#include "strategy/groups.h"

struct lq_known;

/* `rows`: of the sample for errors; `limit`: questions that divergences are of. */
enum lq_status lq_known_open(struct lq_known **out, const struct lq_strategy_options *options, uint64_t rows,
                             uint64_t limit, struct lq_error *err);
void lq_known_free(struct lq_known *known);

/* False where it is not known, as it is with `known` NULL. */
bool lq_known_error(const struct lq_known *known, const struct lq_tensor *tensor, enum lq_type type, uint64_t columns,
                    double *error);
enum lq_status lq_known_keep_error(struct lq_known *known, const struct lq_tensor *tensor, enum lq_type type,
                                   uint64_t columns, double error, struct lq_error *err);
/* What rounding its inputs in blocks of so many costs a tensor. */
bool lq_known_rounding(const struct lq_known *known, const struct lq_tensor *tensor, uint32_t block, double *error);
enum lq_status lq_known_keep_rounding(struct lq_known *known, const struct lq_tensor *tensor, uint32_t block,
                                      double error, struct lq_error *err);
/* Of a group whose members are in `types`, one each, and the rest as it is. */
bool lq_known_divergence(const struct lq_known *known, const struct lq_menu *menu, const struct lq_group *group,
                         const enum lq_type *types, double *divergence, double *typical);
enum lq_status lq_known_keep_divergence(struct lq_known *known, const struct lq_menu *menu,
                                        const struct lq_group *group, const enum lq_type *types, double divergence,
                                        double typical, struct lq_error *err);
/* Writes what was added; where that fails the log is told. */
void lq_known_save(struct lq_known *known, const struct lq_hooks *hooks);

#endif
