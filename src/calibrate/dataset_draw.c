#include "calibrate/dataset_draw.h"

#include "base/random.h"
#include "calibrate/dataset_record.h"

#include <stdlib.h>
#include <string.h>

/* A record by its picture. */
struct use {
    const char *path; /* without the folder */
    size_t record;
};

/* uses[first .. end) are one picture's. */
struct picture {
    size_t first, end;
};

static int compare_uses(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    return strcmp(x->path, y->path);
}

static void sort_uses(struct use *uses, const struct lq_record *records, size_t n, const char *folder)
{
    size_t skip = strlen(folder);
    for (size_t i = 0; i < n; i++) {
        const char *image = records[i].image;
        uses[i] = (struct use){strncmp(image, folder, skip) == 0 ? image + skip : image, i};
    }
    qsort(uses, n, sizeof *uses, compare_uses);
}

static size_t find_pictures(struct picture *pictures, const struct use *uses, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || compare_uses(&uses[i - 1], &uses[i]) != 0) pictures[found++].first = i;
        pictures[found - 1].end = i + 1;
    }
    return found;
}

static void shuffle(struct picture *pictures, size_t n, size_t limit, uint64_t seed)
{
    for (size_t i = 0; i < limit; i++) {
        size_t j = i + (size_t)lq_random_below(&seed, n - i);
        struct picture drawn = pictures[j];
        pictures[j] = pictures[i];
        pictures[i] = drawn;
    }
}

/* Keeps the records of the first `limit` pictures. */
static void keep(struct lq_record *records, size_t *n_records, const struct use *uses, const struct picture *pictures,
                 size_t n_pictures, size_t limit)
{
    size_t kept = 0;
    for (size_t i = limit; i < n_pictures; i++)
        for (size_t k = pictures[i].first; k < pictures[i].end; k++)
            lq_dataset_record_release(&records[uses[k].record]);
    for (size_t i = 0; i < *n_records; i++)
        if (records[i].turns != NULL) records[kept++] = records[i];
    *n_records = kept;
}

enum lq_status lq_dataset_draw(struct lq_record *records, size_t *n_records, size_t *n_pictures, const char *folder,
                               size_t limit, uint64_t seed, struct lq_error *err)
{
    struct use *uses = malloc(*n_records * sizeof *uses);
    struct picture *pictures = malloc(*n_records * sizeof *pictures);
    enum lq_status status = LQ_OK;
    if (uses == NULL || pictures == NULL) {
        status = lq_error_set(err, LQ_ERR_MEMORY, "no memory for %zu records", *n_records);
        goto done;
    }
    sort_uses(uses, records, *n_records, folder);
    size_t n = find_pictures(pictures, uses, *n_records);
    if (limit > 0 && limit < n) {
        shuffle(pictures, n, limit, seed);
        keep(records, n_records, uses, pictures, n, limit);
        n = limit;
    }
    *n_pictures = n;
done:
    free(uses);
    free(pictures);
    return status;
}
