/* Rows side by side: what error feedback does with LQ_ABREAST of them at once, each in a place of its own.
 *
 * Part of the kernels' text: included once per instruction set, behind tile.h. A row's sums run in one place, in
 * order. */

/* Rows whose numbers stay in registers while columns go by; rows and columns of a square that is turned in one go, so
 * that whole lines of the processor's cache are read and written. */
enum { ROWS_AT_ONCE = 64, TURNED = 16 };

/* What fetches the numbers that come next while those in hand are worked on. */
static inline void fetch_rows(const float *p)
{
    for (size_t r = 0; r < ROWS_AT_ONCE; r += TURNED) __builtin_prefetch(p + r);
}

/* Turns a square: what `read` rows there are of `src`, the rest zeros. */
static inline void turn_in(const float *src, size_t stride, size_t read, const uint32_t *place, const float *from,
                           float *dst, size_t apart)
{
    for (size_t g = 0; g < TURNED; g += LANES)
        for (size_t i = 0; i < TURNED; i += LANES) {
            vf rows[LANES];
            for (size_t k = 0; k < LANES; k++) rows[k] = g + k < read ? v_load(src + (g + k) * stride + i) : v_set(0);
            v_transpose(rows);
            for (size_t k = 0; k < LANES; k++) {
                if (from != NULL) rows[k] = v_load(from + place[i + k] * LQ_ABREAST + g) - rows[k];
                v_store(dst + place[i + k] * apart + g, rows[k]);
            }
        }
}

static void put_abreast(const float *src, size_t stride, size_t rows, size_t wanted, const uint32_t *place, size_t n,
                        const float *from, float *dst, size_t apart)
{
    for (size_t r = 0; r < wanted; r += TURNED)
        for (size_t i = 0; i < n; i += TURNED) {
            size_t read = r < rows ? rows - r : 0;
            for (size_t k = TURNED; k < 2 * TURNED && k < read; k++) __builtin_prefetch(src + (r + k) * stride + i);
            turn_in(read > 0 ? src + r * stride + i : src, stride, read, place + i, from == NULL ? NULL : from + r,
                    dst + r, apart);
        }
}

static void put_behind(const float *a, const float *b, size_t rows, const uint32_t *place, size_t n, float *dst)
{
    for (size_t r = 0; r < rows; r += LANES)
        for (size_t i = 0; i < n; i += LANES) {
            vf rows[LANES];
            for (size_t k = 0; k < LANES; k++) {
                size_t at = place[i + k] * LQ_ABREAST + r;
                rows[k] = v_load(a + at) + v_load(b + at);
            }
            v_transpose(rows);
            for (size_t k = 0; k < LANES; k++) v_store(dst + (r + k) * n + i, rows[k]);
        }
}

static void dot_abreast(const float *x, size_t x_apart, const float *y, size_t y_apart, size_t n, float *out)
{
    for (size_t r = 0; r < LQ_ABREAST; r += ROWS_AT_ONCE) {
        vf sum[ROWS_AT_ONCE / LANES];
        for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++) sum[v] = v_set(0);
        for (size_t k = 0; k < n; k++)
            for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++)
                sum[v] = sum[v] + v_load(x + k * x_apart + r + v * LANES) * v_load(y + k * y_apart + r + v * LANES);
        for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++) v_store(out + r + v * LANES, sum[v]);
    }
}

/* The values of a grid's levels: whole numbers from `least` to `most`, or a table. */
struct level_values {
    float least, most;
    int n_middles;                                          /* 0: whole numbers */
    float middle[15], lower[TURNED / 2], upper[TURNED / 2]; /* between neighbours; the first eight, the others */
};

static inline struct level_values values_of(const struct lq_grid *grid)
{
    struct level_values v = {.least = grid->least, .most = grid->most};
    if (grid->table == NULL) return v;
    v.n_middles = grid->most - grid->least;
    for (int k = 0; k <= v.n_middles; k++) *(k < 8 ? &v.lower[k] : &v.upper[k - 8]) = grid->table[k];
    for (int k = 0; k < v.n_middles; k++) v.middle[k] = 0.5f * (float)(grid->table[k] + grid->table[k + 1]);
    return v;
}

/* Of a level less the least one. */
static inline vf value_at(const struct level_values *v, vf level)
{
    if (v->n_middles == 0) return level + v_set(v->least);
    vf low = v_lookup(v->lower, v_min(level, v_set(7))), high = v_lookup(v->upper, v_max(level - v_set(8), v_set(0)));
    return v_select(v_less(v_set(7), level), high, low);
}

/* The level whose value is nearest to x, less the least one; the least for what is not a number. */
static inline vf nearest_value(const struct level_values *v, vf x)
{
    if (v->n_middles == 0) return v_round(v_min(v_max(x, v_set(v->least)), v_set(v->most))) - v_set(v->least);
    vf level = v_set(0);
    for (int k = 0; k < v->n_middles; k++) level = level + v_select(v_less(v_set(v->middle[k]), x), v_set(1), v_set(0));
    return level;
}

static void grid_abreast(const struct lq_abreast *c, const uint8_t (*level)[LQ_ABREAST], float (*out)[LQ_ABREAST])
{
    const struct level_values values = values_of(c->grid);
    for (size_t k = 0; k < c->n; k++) {
        const float *scale = c->scale[c->part[k]], *offset = c->offset[c->part[k]];
        for (size_t r = 0; r < LQ_ABREAST; r += LANES)
            v_store(out[k] + r, v_load(scale + r) * value_at(&values, v_load_bytes(level[k] + r)) + v_load(offset + r));
    }
}

/* One column of ROWS_AT_ONCE rows, wherever its numbers are. */
struct descent_column {
    vf own, over; /* M_kk, and one by it */
    const float *scale, *inverse, *offset, *w;
    float *errors, *moved, *lost, *change;
    uint8_t *level;
};

static inline struct descent_column column_at(const struct lq_descent *d, size_t k, size_t r)
{
    const struct lq_abreast *c = &d->columns;
    float own = d->matrix[k * d->stride + k];
    return (struct descent_column){.own = v_set(own),
                                   .over = v_set(1 / own),
                                   .scale = c->scale[c->part[k]] + r,
                                   .inverse = c->inverse[c->part[k]] + r,
                                   .offset = c->offset[c->part[k]] + r,
                                   .w = d->w[k] + r,
                                   .errors = d->errors + k * d->apart + r,
                                   .moved = d->moved[k] + r,
                                   .lost = d->lost == NULL ? NULL : d->lost[k] + r,
                                   .change = d->change == NULL ? NULL : d->change[k] + r,
                                   .level = d->level[k] + r};
}

/* Of LANES rows; `sum` as struct lq_descent has s. Returns what the step adds to the errors. */
static inline vf step_down(const struct descent_column *c, const struct level_values *values, size_t r, vf sum)
{
    vf scale = v_load(c->scale + r), offset = v_load(c->offset + r), w = v_load(c->w + r), before = v_set(0);
    if (c->change != NULL) before = w - (scale * value_at(values, v_load_bytes(c->level + r)) + offset);
    vf target = w - (before - sum * c->over);
    vf level = nearest_value(values, (target - offset) * v_load(c->inverse + r));
    vf q = scale * value_at(values, level) + offset, now = w - q, moved = now - before;
    if (c->change != NULL) v_store(c->change + r, before - v_load(c->errors + r) + moved);
    if (c->lost != NULL) v_store(c->lost + r, c->own * (target - q));
    v_store_bytes(c->level + r, level);
    v_store(c->errors + r, now);
    v_store(c->moved + r, moved);
    return moved;
}

/* Column k of ROWS_AT_ONCE rows from r on; `moved` has what later ones have added. */
static inline void descend_column(const struct lq_descent *d, const struct level_values *values, size_t k, size_t r,
                                  float (*moved)[ROWS_AT_ONCE])
{
    const struct descent_column column = column_at(d, k, r);
    const float *row = d->matrix + k * d->stride, *sums = d->sums + k * d->apart + r;
    vf sum[ROWS_AT_ONCE / LANES];
    for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++) sum[v] = v_load(sums + v * LANES);
    if (k > 0) {
        fetch_rows(sums - d->apart);
        fetch_rows(column.errors - d->apart);
        fetch_rows(d->w[k - 1] + r);
        if (d->lost != NULL) fetch_rows(d->lost[k - 1] + r);
    }
    for (size_t j = k + 1; j < d->columns.n; j++)
        for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++)
            sum[v] = sum[v] + v_set(row[j]) * v_load(moved[j] + v * LANES);
    for (size_t v = 0; v < ROWS_AT_ONCE / LANES; v++)
        v_store(moved[k] + v * LANES, step_down(&column, values, v * LANES, sum[v]));
}

static void descend(const struct lq_descent *d)
{
    const struct level_values values = values_of(d->columns.grid);
    for (size_t r = 0; r < LQ_ABREAST; r += ROWS_AT_ONCE) {
        _Alignas(64) float moved[LQ_DESCENT][ROWS_AT_ONCE];
        for (size_t k = d->columns.n; k-- > 0;) descend_column(d, &values, k, r, moved);
    }
}
