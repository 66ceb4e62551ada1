#include "plan/allocate.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Both questions are one: least value within a limit of weight. lq_allocate weighs bytes and values costs,
 * lq_allocate_cost the other way round. Everything is counted from each item's least weight and least value.
 *
 * For any price of weight, the sum over items of the least (value + price * weight), less price * limit, is a bound:
 * nothing within the limit is below it. A few prices around that of the linear relaxation tell which choices cannot be
 * part of anything better than what is known. For what is left, sums of weight and value are listed, item after item,
 * without those that another one beats in both, and those whose bound is too high. Items of one shape add up to the
 * same sums, so the lists stay short. Where they do not, only the most promising sums are followed, and the least bound
 * of those left out bounds the answer.
 *
 * The last item comes first: of two equal sums, the one whose newest item has the earlier choice is then the one that
 * the order of all choices prefers. */

enum { PRICES = 7 };

/* Where the prices are taken from: that many of all steps on this side of the one at the limit, at least one. */
static const double places[PRICES] = {0, -0.004, 0.004, -0.03, 0.03, -0.2, 0.2};

/* Sums that a pass may try. The first passes find what is nearly best, so that the last has little left to look at. */
static const size_t allowances[] = {1 << 14, 1 << 18, 1 << 22};
enum { PASSES = sizeof allowances / sizeof allowances[0] };

struct point {
    double weight, value;
    size_t choice; /* of the item's own */
};

/* Weights rise, values fall. */
struct list {
    struct point *points;
    size_t n, item;
};

/* From a point of an item to a heavier one, along the lower hull. */
struct step {
    double slope, weight;
    size_t item;
};

/* What a price picks of some items: least value + price * weight, and of those least weight. */
struct picked {
    double weight, value, priced;
};

/* A sum over the items from one to the last: what it adds to which sum, by their places. */
struct state {
    double weight, value, bound;
    size_t parent, point;
};

/* A sum, and the price that picks what is missing before it. */
struct candidate {
    size_t core, state, price;
    bool found;
};

struct search {
    bool by_cost; /* weigh costs, value bytes */
    size_t n, n_points;
    double least, limit; /* the lightest choices; what others may weigh more in all */
    struct list *lists;
    struct point *points; /* of all lists */
    struct step *steps;
    size_t n_steps;
    double price[PRICES], doubt[PRICES]; /* doubt: what rounding may have done to a bound */

    size_t *chosen; /* the best so far */
    double value;   /* of it */
    double missed;  /* in this pass, the least bound of a sum that was left out */

    struct list *core; /* what is left to decide, in the items' order */
    size_t n_core;
    struct point *core_points;
    struct picked *rest; /* [i * PRICES + p]: of the core before its i-th item */
    struct state start;  /* all that is decided */
    size_t *trial;       /* its choices */
    struct state *states;
    size_t n_states, room, *first; /* first[i]: the first sum with core item i; those with item i - 1 follow */
    double *bounds;
    size_t *cursors;
};

/* ---- the question ---- */

static int compare_points(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return (x->choice > y->choice) - (x->choice < y->choice);
}

/* Keeps what is worth less than everything lighter. */
static size_t prune(struct point *points, size_t n)
{
    size_t kept = 0;
    qsort(points, n, sizeof *points, compare_points);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || points[i].value < points[kept - 1].value) points[kept++] = points[i];
    return kept;
}

/* The item's points, counted from its least weight, which is returned, and its least value. */
static double fill_list(const struct search *s, struct list *list, const struct lq_choice_item *item)
{
    for (size_t k = 0; k < item->n; k++) {
        double bytes = (double)item->choices[k].bytes, cost = item->choices[k].cost;
        list->points[k] = s->by_cost ? (struct point){cost, bytes, k} : (struct point){bytes, cost, k};
    }
    list->n = prune(list->points, item->n);
    double weight = list->points[0].weight, value = list->points[list->n - 1].value;
    for (size_t k = 0; k < list->n; k++) {
        list->points[k].weight -= weight;
        list->points[k].value -= value;
    }
    return weight;
}

static enum lq_status check_item(const struct lq_choice_item *item, size_t i, double *most, struct lq_error *err)
{
    if (item->n == 0) return lq_error_set(err, LQ_ERR_USAGE, "item %zu has nothing to choose from", i);
    *most = 0;
    for (size_t k = 0; k < item->n; k++) {
        if (!isfinite(item->choices[k].cost) || item->choices[k].cost < 0)
            return lq_error_set(err, LQ_ERR_USAGE, "item %zu, choice %zu: %g is no cost", i, k, item->choices[k].cost);
        *most = fmax(*most, (double)item->choices[k].bytes);
    }
    return LQ_OK;
}

static enum lq_status check(struct search *s, const struct lq_choice_item *items, struct lq_error *err)
{
    double bytes = 0, most = 0;
    for (size_t i = 0; i < s->n; i++) {
        enum lq_status status = check_item(&items[i], i, &most, err);
        if (status != LQ_OK) return status;
        bytes += most;
        s->n_points += items[i].n;
    }
    if (bytes > 0x1p53) return lq_error_set(err, LQ_ERR_USAGE, "%g bytes are more than can be counted exactly", bytes);
    return LQ_OK;
}

/* The lightest choices are the first answer. */
static enum lq_status prepare(struct search *s, const struct lq_choice_item *items, struct lq_error *err)
{
    size_t n = s->n + 1, points = s->n_points + 1;
    s->lists = calloc(n, sizeof *s->lists);
    s->core = calloc(n, sizeof *s->core);
    s->points = calloc(points, sizeof *s->points);
    s->core_points = calloc(points, sizeof *s->core_points);
    s->steps = calloc(points, sizeof *s->steps);
    s->cursors = calloc(points, sizeof *s->cursors);
    s->trial = calloc(n, sizeof *s->trial);
    s->chosen = calloc(n, sizeof *s->chosen);
    s->first = calloc(n, sizeof *s->first);
    s->rest = calloc(n * PRICES, sizeof *s->rest);
    if (s->lists == NULL || s->core == NULL || s->points == NULL || s->core_points == NULL || s->steps == NULL ||
        s->cursors == NULL || s->trial == NULL || s->chosen == NULL || s->first == NULL || s->rest == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory to allocate %zu items", s->n);
    for (size_t i = 0, used = 0; i < s->n; used += items[i++].n) {
        s->lists[i] = (struct list){.points = s->points + used, .item = i};
        s->least += fill_list(s, &s->lists[i], &items[i]);
        s->value += s->points[used].value;
        s->chosen[i] = s->points[used].choice;
    }
    return LQ_OK;
}

static void release(struct search *s)
{
    free(s->lists);
    free(s->core);
    free(s->points);
    free(s->core_points);
    free(s->steps);
    free(s->cursors);
    free(s->trial);
    free(s->chosen);
    free(s->first);
    free(s->rest);
    free(s->states);
    free(s->bounds);
}

/* ---- prices ---- */

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->slope != y->slope) return x->slope > y->slope ? -1 : 1;
    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

/* The steepest step from point `k`, and where it leads. */
static size_t steepest(const struct list *list, size_t k, struct step *step)
{
    size_t to = k;
    *step = (struct step){.slope = -1, .item = list->item};
    for (size_t j = k + 1; j < list->n; j++) {
        double weight = list->points[j].weight - list->points[k].weight;
        double slope = (list->points[k].value - list->points[j].value) / weight;
        if (slope < step->slope) continue;
        step->slope = slope;
        step->weight = weight;
        to = j;
    }
    return to;
}

/* All steps, steepest first; their number up to the one at which the limit is passed is returned. */
static size_t walk(struct search *s)
{
    double weight = 0;
    size_t taken = 0;
    s->n_steps = 0;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k + 1 < s->lists[i].n;) k = steepest(&s->lists[i], k, &s->steps[s->n_steps++]);
    qsort(s->steps, s->n_steps, sizeof *s->steps, compare_steps);
    while (taken < s->n_steps && weight + s->steps[taken].weight <= s->limit) weight += s->steps[taken++].weight;
    return taken;
}

static void set_prices(struct search *s)
{
    size_t taken = walk(s);
    for (size_t p = 0; p < PRICES; p++) {
        double side = places[p] < 0 ? (double)taken : (double)(s->n_steps - taken);
        double at = (double)taken + (places[p] < 0 ? floor(places[p] * side) : ceil(places[p] * side));
        s->price[p] = at < (double)s->n_steps ? s->steps[(size_t)at].slope : 0;
    }
}

static const struct point *pick(const struct list *list, double price)
{
    const struct point *best = list->points;
    for (const struct point *p = best + 1; p < list->points + list->n; p++)
        if (p->value + price * p->weight < best->value + price * best->weight) best = p;
    return best;
}

static void add_picked(struct picked *sum, const struct list *list, double price)
{
    const struct point *point = pick(list, price);
    sum->weight += point->weight;
    sum->value += point->value;
    sum->priced += point->value + price * point->weight;
}

/* No sum that goes on from this weight and value is worth less; `rest`: what is still to be added at each price. */
static double bound_of(const struct search *s, const struct picked *rest, double weight, double value)
{
    double best = value;
    for (size_t p = 0; p < PRICES; p++) {
        double bound = value + rest[p].priced - s->price[p] * (s->limit - weight) - s->doubt[p];
        if (bound > best) best = bound;
    }
    return best;
}

/* What is not better than the best so far: more than its value, by more than rounding. */
static double ceiling(const struct search *s)
{
    return s->value * (1 + 4 * (double)s->n * DBL_EPSILON);
}

/* All items at each price: first answers, and doubts. */
static void price_all(struct search *s, struct picked all[PRICES])
{
    memset(all, 0, PRICES * sizeof *all);
    for (size_t p = 0; p < PRICES; p++) {
        for (size_t i = 0; i < s->n; i++) add_picked(&all[p], &s->lists[i], s->price[p]);
        s->doubt[p] = 4 * (double)(s->n + 8) * DBL_EPSILON * (all[p].priced + s->price[p] * s->limit);
        if (all[p].weight > s->limit || all[p].value >= s->value) continue;
        s->value = all[p].value;
        for (size_t i = 0; i < s->n; i++) s->chosen[i] = pick(&s->lists[i], s->price[p])->choice;
    }
}

/* ---- a pass ---- */

/* The points of an item that may be part of something better. */
static size_t narrow(const struct search *s, const struct list *list, const struct picked all[PRICES],
                     struct point *points)
{
    struct picked others[PRICES];
    size_t n = 0;
    memcpy(others, all, sizeof others);
    for (size_t p = 0; p < PRICES; p++) {
        const struct point *own = pick(list, s->price[p]);
        others[p].priced -= own->value + s->price[p] * own->weight;
    }
    for (const struct point *point = list->points; point < list->points + list->n; point++)
        if (point->weight <= s->limit && bound_of(s, others, point->weight, point->value) <= ceiling(s))
            points[n++] = *point;
    return n;
}

/* What is left to decide, and the start with all that is not. */
static void make_core(struct search *s, const struct picked all[PRICES])
{
    s->n_core = 0;
    s->start = (struct state){0};
    for (size_t i = 0, used = 0; i < s->n; i++) {
        struct list left = {s->core_points + used, 0, i};
        left.n = narrow(s, &s->lists[i], all, left.points);
        used += left.n;
        if (left.n != 1) {
            s->core[s->n_core++] = left;
            continue;
        }
        s->start.weight += left.points[0].weight;
        s->start.value += left.points[0].value;
        s->trial[i] = left.points[0].choice;
    }
    for (size_t i = 0; i < s->n_core; i++)
        for (size_t p = 0; p < PRICES; p++) {
            struct picked *next = &s->rest[(i + 1) * PRICES + p];
            *next = s->rest[i * PRICES + p];
            add_picked(next, &s->core[i], s->price[p]);
        }
}

static enum lq_status reserve(struct search *s, size_t room, struct lq_error *err)
{
    if (room <= s->room) return LQ_OK;
    room += room / 2;
    struct state *states = realloc(s->states, room * sizeof *states);
    if (states != NULL) s->states = states;
    double *bounds = realloc(s->bounds, room * sizeof *bounds);
    if (bounds != NULL) s->bounds = bounds;
    if (states == NULL || bounds == NULL)
        return lq_error_set(err, LQ_ERR_MEMORY, "no memory to allocate %zu items", s->n);
    s->room = room;
    return LQ_OK;
}

static bool precedes(const struct list *list, const struct state *a, const struct state *b)
{
    if (a->weight != b->weight) return a->weight < b->weight;
    if (a->value != b->value) return a->value < b->value;
    return list->points[a->point].choice < list->points[b->point].choice;
}

/* The next sum in the order of weights and then values, from all points of the list merged; false: no more. */
static bool merge(const struct search *s, const struct list *list, size_t from, size_t to, struct state *out)
{
    bool found = false;
    for (size_t k = 0; k < list->n; k++) {
        if (from + s->cursors[k] == to) continue;
        const struct state *parent = &s->states[from + s->cursors[k]];
        struct state sum = {.weight = parent->weight + list->points[k].weight,
                            .value = parent->value + list->points[k].value,
                            .parent = from + s->cursors[k],
                            .point = k};
        if (found && !precedes(list, &sum, out)) continue;
        *out = sum;
        found = true;
    }
    if (found) s->cursors[out->point]++;
    return found;
}

/* Adds core item `i` to all sums from `from` to the last. */
static enum lq_status extend(struct search *s, size_t i, size_t from, struct lq_error *err)
{
    const struct list *list = &s->core[i];
    size_t to = s->n_states;
    enum lq_status status = reserve(s, to + (to - from) * list->n, err);
    if (status != LQ_OK) return status;
    memset(s->cursors, 0, list->n * sizeof *s->cursors);
    double least = INFINITY;
    for (struct state sum; merge(s, list, from, to, &sum);) {
        if (sum.weight > s->limit || sum.value >= least) continue;
        least = sum.value;
        sum.bound = bound_of(s, &s->rest[i * PRICES], sum.weight, sum.value);
        if (sum.bound <= ceiling(s)) s->states[s->n_states++] = sum;
    }
    return LQ_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Leaves the `width` sums of least bound; of those that are equal at its end, some from everywhere. */
static void thin(struct search *s, size_t from, size_t width)
{
    size_t n = s->n_states - from, below = 0, equal = 0, due = 0;
    if (n <= width) return;
    for (size_t k = 0; k < n; k++) s->bounds[k] = s->states[from + k].bound;
    qsort(s->bounds, n, sizeof *s->bounds, compare_doubles);
    double last = s->bounds[width - 1];
    for (size_t k = 0; k < n && s->bounds[k] <= last; k++) *(s->bounds[k] < last ? &below : &equal) += 1;
    s->missed = fmin(s->missed, s->bounds[width]);
    s->n_states = from;
    for (size_t k = from; k < from + n; k++) {
        if (s->states[k].bound > last) continue;
        if (s->states[k].bound == last) {
            due += width - below;
            if (due < equal) continue;
            due -= equal;
        }
        s->states[s->n_states++] = s->states[k];
    }
}

/* Completes each sum with core item `i` by what each price picks. */
static void complete(struct search *s, size_t i, struct candidate *best)
{
    for (size_t k = s->first[i]; k < s->n_states; k++)
        for (size_t p = 0; p < PRICES; p++) {
            const struct picked *rest = &s->rest[i * PRICES + p];
            double weight = s->states[k].weight + rest->weight, value = s->states[k].value + rest->value;
            if (weight > s->limit || value >= s->value) continue;
            s->value = value;
            *best = (struct candidate){i, k, p, true};
        }
}

/* Writes a candidate's choices down. */
static void trace(struct search *s, const struct candidate *best)
{
    for (size_t i = 0; i < best->core; i++)
        s->trial[s->core[i].item] = pick(&s->core[i], s->price[best->price])->choice;
    for (size_t i = best->core, k = best->state; i < s->n_core; k = s->states[k].parent, i++)
        s->trial[s->core[i].item] = s->core[i].points[s->states[k].point].choice;
    memcpy(s->chosen, s->trial, s->n * sizeof *s->chosen);
}

/* Core item after core item; of the allowance for sums to be tried, each gets what those before it have left. */
static enum lq_status list_sums(struct search *s, size_t allowance, struct candidate *best, struct lq_error *err)
{
    s->states[0] = s->start;
    s->n_states = 1;
    for (size_t i = s->n_core, from = 0; i-- > 0; from = s->first[i]) {
        size_t tried = (s->n_states - from) * s->core[i].n, next = i > 0 ? s->core[i - 1].n : 1;
        s->first[i] = s->n_states;
        enum lq_status status = extend(s, i, from, err);
        if (status != LQ_OK) return status;
        allowance -= tried < allowance ? tried : allowance;
        size_t width = allowance / ((i + 1) * next);
        thin(s, s->first[i], width > 0 ? width : 1);
        complete(s, i, best);
    }
    return LQ_OK;
}

/* s->missed is infinite afterwards where no sum was left out: the best is then proved. */
static enum lq_status run_pass(struct search *s, const struct picked all[PRICES], size_t allowance,
                               struct lq_error *err)
{
    struct candidate best = {0};
    s->missed = INFINITY;
    make_core(s, all);
    enum lq_status status = reserve(s, 1, err);
    if (status == LQ_OK) status = list_sums(s, allowance, &best, err);
    if (status != LQ_OK) return status;
    const struct state *last = &s->states[s->n_states - 1];
    if (s->n_core > 0 && s->n_states > s->first[0] && last->value <= ceiling(s)) {
        best = (struct candidate){0, s->n_states - 1, 0, true};
        s->value = last->value;
    }
    if (best.found) trace(s, &best);
    return LQ_OK;
}

static enum lq_status search(struct search *s, struct lq_error *err)
{
    struct picked all[PRICES];
    enum lq_status status = LQ_OK;
    double heaviest = 0;
    for (size_t i = 0; i < s->n; i++) heaviest += s->lists[i].points[s->lists[i].n - 1].weight;
    s->limit = fmin(s->limit - s->least, heaviest);
    set_prices(s);
    price_all(s, all);
    for (size_t pass = 0; pass < PASSES && status == LQ_OK; pass++) {
        status = run_pass(s, all, allowances[pass], err);
        if (s->missed + 2 * s->doubt[0] >= s->value) break;
    }
    return status;
}

/* ---- both ways ---- */

static enum lq_status refuse(const struct search *s, const struct lq_choice_item *items, struct lq_allocation *outcome,
                             struct lq_error *err)
{
    struct lq_allocation least = {0};
    for (size_t i = 0; i < s->n; i++) {
        least.bytes += items[i].choices[s->chosen[i]].bytes;
        least.cost += items[i].choices[s->chosen[i]].cost;
    }
    *outcome = least;
    if (s->by_cost)
        return lq_error_set(err, LQ_ERR_USAGE, "even the best choices cost %g, more than %g", least.cost, s->limit);
    return lq_error_set(err, LQ_ERR_USAGE, "even the smallest choices take %" PRIu64 " bytes, more than %.0f",
                        least.bytes, s->limit);
}

/* What was found, in the items' own terms. */
static void sum_up(const struct search *s, const struct lq_choice_item *items, size_t *chosen,
                   struct lq_allocation *outcome)
{
    struct lq_allocation out = {.optimal = s->missed + 2 * s->doubt[0] >= s->value, .price = s->price[0]};
    for (size_t i = 0; i < s->n; i++) {
        out.bytes += items[i].choices[s->chosen[i]].bytes;
        out.cost += items[i].choices[s->chosen[i]].cost;
        chosen[i] = s->chosen[i];
    }
    double value = s->by_cost ? (double)out.bytes : out.cost;
    out.bound = out.optimal ? value : value - (s->value - s->missed);
    if (s->by_cost && out.price == 0 && s->n_steps > 0) out.price = s->steps[s->n_steps - 1].slope;
    if (s->by_cost && out.price > 0) out.price = 1 / out.price;
    *outcome = out;
}

static enum lq_status allocate(struct search *s, const struct lq_choice_item *items, size_t *chosen,
                               struct lq_allocation *outcome, struct lq_error *err)
{
    enum lq_status status = check(s, items, err);
    if (status == LQ_OK) status = prepare(s, items, err);
    if (status == LQ_OK && !(s->limit >= s->least)) status = refuse(s, items, outcome, err);
    if (status == LQ_OK) status = search(s, err);
    if (status == LQ_OK) sum_up(s, items, chosen, outcome);
    release(s);
    return status;
}

enum lq_status lq_allocate(const struct lq_choice_item *items, size_t n, uint64_t budget, size_t *chosen,
                           struct lq_allocation *outcome, struct lq_error *err)
{
    struct search s = {.n = n, .limit = (double)budget};
    return allocate(&s, items, chosen, outcome, err);
}

enum lq_status lq_allocate_cost(const struct lq_choice_item *items, size_t n, double cost, size_t *chosen,
                                struct lq_allocation *outcome, struct lq_error *err)
{
    struct search s = {.n = n, .by_cost = true, .limit = cost * (1 + 4 * (double)(n + 1) * DBL_EPSILON)};
    return allocate(&s, items, chosen, outcome, err);
}
