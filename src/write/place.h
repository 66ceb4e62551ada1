/* The folder and the names that an output will have, reserved for one run.
 *
 * Enters: paths in one folder, which may not exist yet, nor folders above it. Leaves: open folders to work in.
 * Invariants: while a place is open no other run on this machine opens the same names; leftovers of a killed run on
 * them have been removed, and interrupted commits in that folder rolled forward; the folder has been written to once,
 * as a trial.
 *
 *     struct lq_place place;
 *     if (lq_place_open(&place, paths, 2, false, &err) == LQ_OK) lq_place_close(&place);
 */
#ifndef LQ_WRITE_PLACE_H
#define LQ_WRITE_PLACE_H

#include "llava_quantize/base.h"

struct lq_place_file {
    char *path;      /* as given */
    char *name;      /* the last component */
    int reservation; /* -1: none */
};

struct lq_place {
    struct lq_place_file *files;
    size_t n;
    char *folder_path;      /* as messages show it */
    char *folder_name;      /* of the first folder that is still to be made, else NULL */
    char *missing;          /* all that are: "first/second/last", from `parent` on */
    int folder_reservation; /* of that folder's name */
    int folder;             /* -1 while the folder is missing */
    int parent;             /* where the first missing folder will be made, else -1 */
};

/* Errors: LQ_ERR_USAGE (existing files without `force`, no path or too many, a path that is a folder, paths in
 * different folders), LQ_ERR_IO (not a folder, not writable, another run is at work there), LQ_ERR_FORMAT (a damaged
 * commit record). On failure nothing is held and *out is untouched. */
enum lq_status lq_place_open(struct lq_place *out, const char *const *paths, size_t n, bool force,
                             struct lq_error *err);
void lq_place_close(struct lq_place *place);

/* Where files are staged: the folder, or while it is missing the nearest one above it. */
int lq_place_stage_folder(const struct lq_place *place);
/* What a staged file is called after there. */
const char *lq_place_label(const struct lq_place *place, size_t file);
/* Fails when a path cannot be given to a file: something stands there that may not be replaced. */
enum lq_status lq_place_check(const struct lq_place *place, bool force, struct lq_error *err);
/* Looks again whether a missing folder has been made in the meantime, and takes it if so. */
void lq_place_refresh(struct lq_place *place);
/* Removes an open folder of ours, called `name` in `parent`, with all that is in it, and closes it. */
void lq_place_remove_folder(int parent, int folder, const char *name);
/* "PATH: cannot WHAT: reason" from errno, with a remedy where there is one; PATH is that of the first file. */
enum lq_status lq_place_error(const struct lq_place *place, const char *what, struct lq_error *err);

#endif
