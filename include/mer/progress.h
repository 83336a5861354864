/* How far a run is, as its model says. */
#ifndef MER_PROGRESS_H
#define MER_PROGRESS_H

#include <mer/buf.h>

enum { MER_PROGRESS_TEXT = 200 }; /* the most bytes of what a model says of it */

struct mer_progress {
	double done;         /* a finite number from 0 on */
	double total;        /* at least done; 0: not known */
	struct mer_str text; /* at most MER_PROGRESS_TEXT bytes of UTF-8, which may hold control
	                      * characters; borrowed; len 0: none */
};

#endif
