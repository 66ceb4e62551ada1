/* The map of tensors: blocks across, roles down, the colour the error, the letters the type.
 *
 * Tensors of one role and block share a cell, which is as dark as the worst of them. What is never quantised is counted
 * and not drawn.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/figure.h"
#include "report/section.h"

enum { LABEL_WIDTH = 92, CELL_HEIGHT = 22, HEAD = 18, GAP = 12, FEW_BLOCKS = 16 };

/* The upper bounds of the steps of colour; the style has a class for each and for what is beyond, "h0" to "h8". */
static const double steps[] = {0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1};
static const char *const step_names[] = {"none", "0.1 %", "0.3 %", "1 %", "3 %", "10 %", "30 %", "100 %", "more"};
enum { N_STEPS = sizeof steps / sizeof *steps + 1 };

/* Tensors that share a place. */
struct cell {
    const struct lq_tensor_result *const *tensors;
    size_t n, column, row;
    double y;
};

/* The drawn tensors of one half and their cells, row by row. */
struct map {
    const struct lq_tensor_result **tensors;
    struct cell *cells;
    int *blocks; /* that are there, ascending: the columns */
    size_t n_tensors, n_cells, n_blocks, n_columns, n_left_out;
    double width, height; /* of a cell; of the map */
};

static bool drawn(const struct lq_tensor_result *t)
{
    return t->role < LQ_ROLE_PATCH_EMBEDDING;
}

/* Within blocks first, by role and block; then those outside, by role; file order among equals. */
static int by_cell(const void *a, const void *b)
{
    const struct lq_tensor_result *p = *(const struct lq_tensor_result *const *)a;
    const struct lq_tensor_result *q = *(const struct lq_tensor_result *const *)b;
    if ((p->block < 0) != (q->block < 0)) return p->block < 0 ? 1 : -1;
    if (p->role != q->role) return p->role < q->role ? -1 : 1;
    if (p->block != q->block) return p->block < q->block ? -1 : 1;
    return (p > q) - (p < q);
}

static int by_number(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static void find_blocks(struct map *map)
{
    size_t n = 0;
    for (size_t i = 0; i < map->n_tensors && map->tensors[i]->block >= 0; i++)
        map->blocks[map->n_blocks++] = map->tensors[i]->block;
    qsort(map->blocks, map->n_blocks, sizeof *map->blocks, by_number);
    for (size_t i = 0; i < map->n_blocks; i++)
        if (i == 0 || map->blocks[i] != map->blocks[n - 1]) map->blocks[n++] = map->blocks[i];
    map->n_blocks = n;
}

static bool same_row(const struct lq_tensor_result *a, const struct lq_tensor_result *b)
{
    return a->role == b->role && (a->block < 0) == (b->block < 0);
}

/* Puts a tensor behind those that have their places: into the last cell, the last row, or a row of its own. */
static void place(struct map *map, const struct lq_tensor_result *const *tensor)
{
    const struct lq_tensor_result *t = *tensor;
    struct cell *last = map->n_cells > 0 ? &map->cells[map->n_cells - 1] : NULL;
    bool goes_on = last != NULL && same_row(last->tensors[0], t);
    if (goes_on && t->block >= 0 && last->tensors[0]->block == t->block) {
        last->n++;
        return;
    }
    struct cell cell = {.tensors = tensor, .n = 1, .y = map->n_blocks > 0 ? HEAD : 0};
    if (t->block >= 0)
        cell.column =
            (size_t)((int *)bsearch(&t->block, map->blocks, map->n_blocks, sizeof(int), by_number) - map->blocks);
    else cell.column = goes_on ? last->column + 1 : 0;
    if (last != NULL) {
        bool leaves_blocks = last->tensors[0]->block >= 0 && t->block < 0;
        cell.row = last->row + !goes_on;
        cell.y = last->y + (goes_on ? 0 : CELL_HEIGHT) + (leaves_blocks ? GAP : 0);
    }
    map->cells[map->n_cells++] = cell;
    map->n_columns = cell.column >= map->n_columns ? cell.column + 1 : map->n_columns;
    map->height = cell.y + CELL_HEIGHT;
}

static bool map_init(struct map *map, const struct lq_evaluation *e, enum lq_half half)
{
    size_t n = e->n_tensors + 1;
    *map = (struct map){.tensors = calloc(n, sizeof *map->tensors),
                        .cells = calloc(n, sizeof *map->cells),
                        .blocks = calloc(n, sizeof *map->blocks)};
    if (map->tensors == NULL || map->cells == NULL || map->blocks == NULL) return false;
    for (size_t i = 0; i < e->n_tensors; i++) {
        if (e->tensors[i].half != half) continue;
        if (drawn(&e->tensors[i])) map->tensors[map->n_tensors++] = &e->tensors[i];
        else map->n_left_out++;
    }
    qsort(map->tensors, map->n_tensors, sizeof *map->tensors, by_cell);
    find_blocks(map);
    map->width = map->n_blocks > FEW_BLOCKS ? 30 : 44;
    for (size_t i = 0; i < map->n_tensors; i++) place(map, &map->tensors[i]);
    return true;
}

static void map_release(struct map *map)
{
    free(map->tensors);
    free(map->cells);
    free(map->blocks);
}

static int step_of(double error)
{
    int step = 0;
    while (step < N_STEPS - 1 && error > steps[step]) step++;
    return step;
}

static double worst_error(const struct cell *cell)
{
    double worst = NAN;
    for (size_t i = 0; i < cell->n; i++) worst = fmax(worst, cell->tensors[i]->error);
    return worst;
}

static const char *type_of(const struct cell *cell)
{
    for (size_t i = 1; i < cell->n; i++)
        if (cell->tensors[i]->type != cell->tensors[0]->type) return "mixed";
    return lq_format_name(cell->tensors[0]->type);
}

static void put_story(struct lq_page *page, const struct lq_tensor_result *t)
{
    lq_page_put(page, "%s: %s, error %s", t->name, lq_format_name(t->type), lq_figure_percent(t->error, 3).s);
    if (t->reason != NULL) lq_page_put(page, "; reason: %s", t->reason);
}

/* The type's name, squeezed where it is too long for the cell. */
static void put_type(struct lq_page *page, const char *type, double x, double y, double width, bool dark)
{
    double letter = width > 40 ? 6.5 : 5.2;
    bool squeeze = letter * (double)strlen(type) > width - 5;
    lq_page_put(page, "<text class=\"type%s%s\" x=\"%.1f\" y=\"%.1f\"", width > 40 ? "" : " narrow", dark ? " on" : "",
                x + width / 2, y + CELL_HEIGHT / 2.0 + 3.5);
    if (squeeze) lq_page_put(page, " textLength=\"%.1f\" lengthAdjust=\"spacingAndGlyphs\"", width - 5);
    lq_page_put(page, ">%s</text>", type);
}

static void put_cell(struct lq_page *page, const struct map *map, const struct cell *cell)
{
    double error = worst_error(cell), x = (double)cell->column * map->width;
    lq_page_put(page, "<g class=\"item cell\" tabindex=\"%d\" role=\"img\" data-x=\"%zu\" data-y=\"%zu\"><title>",
                cell == map->cells ? 0 : -1, cell->column, cell->row);
    for (size_t i = 0; i < cell->n; i++) {
        if (i > 0) lq_page_put(page, "\n");
        put_story(page, cell->tensors[i]);
    }
    if (isnan(error)) lq_page_put(page, "</title><rect class=\"hx\"");
    else lq_page_put(page, "</title><rect class=\"h%d\"", step_of(error));
    lq_page_put(page, " x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>", x + 1, cell->y + 1, map->width - 2,
                CELL_HEIGHT - 2);
    put_type(page, type_of(cell), x, cell->y, map->width, !isnan(error) && step_of(error) > 5);
    lq_page_put(page, "</g>\n");
}

static void put_row_names(struct lq_page *page, const struct map *map)
{
    for (size_t i = 0; i < map->n_cells; i++) {
        if (i > 0 && map->cells[i].row == map->cells[i - 1].row) continue;
        const char *name = lq_role_name(map->cells[i].tensors[0]->role), *dot = strchr(name, '.');
        lq_page_put(page, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LABEL_WIDTH - 8,
                    map->cells[i].y + CELL_HEIGHT / 2.0 + 3.5, dot == NULL ? name : dot + 1);
    }
}

static void put_block_numbers(struct lq_page *page, const struct map *map)
{
    for (size_t i = 0; i < map->n_blocks; i++)
        lq_page_put(page, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n",
                    ((double)i + 0.5) * map->width, HEAD - 6, map->blocks[i]);
}

static void put_map(struct lq_page *page, const struct map *map, const char *id, const char *half)
{
    lq_page_put(
        page, "<div class=\"scroll map%s\">\n<svg class=\"names\" width=\"%d\" height=\"%.0f\" aria-hidden=\"true\">\n",
        map->n_columns > FEW_BLOCKS ? " wide" : "", LABEL_WIDTH, map->height);
    put_row_names(page, map);
    lq_page_put(
        page,
        "</svg><svg class=\"cells\" width=\"%.0f\" height=\"%.0f\" role=\"group\" aria-labelledby=\"%s-t %s-d\">\n"
        "<title id=\"%s-t\">Tensors of the %s half</title>\n<desc id=\"%s-d\">Blocks across, roles down; darker "
        "is a larger relative error. Arrow keys move between tensors.</desc>\n",
        (double)map->n_columns * map->width, map->height, id, id, id, half, id);
    put_block_numbers(page, map);
    for (size_t i = 0; i < map->n_cells; i++) put_cell(page, map, &map->cells[i]);
    lq_page_put(page, "</svg>\n</div>\n<p class=\"detail\" role=\"status\"></p>\n");
}

static void put_legend(struct lq_page *page)
{
    lq_page_put(page,
                "<svg class=\"legend\" width=\"340\" height=\"34\" viewBox=\"0 0 340 34\" role=\"img\"><title>Steps of "
                "colour by relative error</title>\n");
    for (int i = 0; i < N_STEPS; i++)
        lq_page_put(page,
                    "<rect class=\"h%d\" x=\"%d\" y=\"2\" width=\"34\" height=\"12\"/><text class=\"tick\" x=\"%d\" "
                    "y=\"28\" text-anchor=\"middle\">%s</text>\n",
                    i, 4 + i * 36, 21 + i * 36, step_names[i]);
    lq_page_put(page, "</svg>\n");
}

static void put_half(struct lq_page *page, const struct lq_candidate *candidate, enum lq_half half)
{
    static const char *const names[LQ_HALVES] = {"vision", "language"};
    struct map map;
    char id[40];
    snprintf(id, sizeof id, "map%zu-%s", candidate->number, names[half]);
    if (!map_init(&map, candidate->e, half)) page->failed = true;
    else if (map.n_cells > 0) {
        lq_page_put(page, "<div>\n<h3>%s half</h3>\n", half == LQ_VISION ? "Vision" : "Language");
        put_map(page, &map, id, names[half]);
        if (map.n_left_out > 0)
            lq_page_put(page,
                        "<p class=\"note\">Not drawn: %zu tensors that are never quantised (norms, biases, patch and "
                        "position embeddings).</p>\n",
                        map.n_left_out);
        lq_page_put(page, "</div>\n");
    }
    map_release(&map);
}

void lq_section_tensors(struct lq_page *page, const struct lq_candidate *candidate)
{
    lq_page_put(page, "<section>\n<h2>Tensor by tensor</h2>\n");
    if (candidate->e->n_tensors == 0) lq_page_put(page, "<p class=\"none\">not measured</p>\n");
    else {
        lq_page_put(page,
                    "<p>The relative error of each tensor against the original’s weights, and the type it is stored "
                    "in. Point at a cell, or walk with the arrow keys, to see its name and the reason.</p>\n");
        put_legend(page);
        lq_page_put(page, "<div class=\"maps\">\n");
        put_half(page, candidate, LQ_VISION);
        put_half(page, candidate, LQ_LANGUAGE);
        lq_page_put(page, "</div>\n");
    }
    lq_page_put(page, "</section>\n");
}
