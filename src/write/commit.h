/* Giving names to finished files: all of them or none.
 *
 * Enters: synced staged files and the place they go to. Leaves: final names.
 * Into a folder that is missing: the files are named in a hidden sibling folder, which is renamed once; of several
 * missing ones, a/b/c, the first gets the sibling, and the others are made in it. A single file:
 * one atomic link or rename. Several files in an existing folder: all get hidden names, then a commit record appears
 * (write/record.h), then all are renamed, then the record goes.
 */
#ifndef LQ_WRITE_COMMIT_H
#define LQ_WRITE_COMMIT_H

#include "write/place.h"
#include "write/stage.h"

/* `stage[i]` is what the place's file i is made of. Errors: LQ_ERR_USAGE (a name was taken in the
 * meantime), LQ_ERR_IO. On failure the state is as before, but for a disk that fails between two replacing renames:
 * then the message says that the next run will finish, and the new files are kept for that. */
enum lq_status lq_commit(struct lq_place *place, struct lq_stage *stage, bool force, struct lq_error *err);

#endif
