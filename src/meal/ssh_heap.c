/* The memory of libssh2's sessions; ssh_heap.h. */
#include "ssh_heap.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ssh_block {
	LIST_ENTRY(ssh_block) link;
	alignas(max_align_t) unsigned char bytes[];
};

static _Thread_local bool wiping;

void ssh_heap_wipe(bool wipe)
{
	wiping = wipe;
}

static struct ssh_heap *heap_of(void *const *abstract)
{
	return *(struct ssh_heap **)*abstract;
}

static struct ssh_block *block_of(void *bytes)
{
	return (struct ssh_block *)((unsigned char *)bytes - offsetof(struct ssh_block, bytes));
}

static void give_block(struct ssh_heap *heap, struct ssh_block *block)
{
	const size_t size = malloc_usable_size(block);
	LIST_REMOVE(block, link);
	heap->held -= size;
	if (wiping)
		explicit_bzero(block, size);
	free(block);
}

static LIBSSH2_ALLOC_FUNC(take)
{
	struct ssh_heap *heap = heap_of(abstract);
	struct ssh_block *block =
		count < PTRDIFF_MAX - sizeof *block ? malloc(sizeof *block + count) : NULL;
	if (block == NULL)
		return NULL;
	LIST_INSERT_HEAD(&heap->blocks, block, link);
	heap->held += malloc_usable_size(block);
	return block->bytes;
}

static LIBSSH2_FREE_FUNC(give)
{
	if (ptr != NULL)
		give_block(heap_of(abstract), block_of(ptr));
}

/* Not realloc(), which leaves behind what it moves. */
static LIBSSH2_REALLOC_FUNC(change)
{
	void *fresh = take(count, abstract);
	if (fresh == NULL || ptr == NULL)
		return fresh;
	const size_t size = malloc_usable_size(block_of(ptr)) - offsetof(struct ssh_block, bytes);
	memcpy(fresh, ptr, size < count ? size : count);
	give(ptr, abstract);
	return fresh;
}

LIBSSH2_SESSION *ssh_heap_session(struct ssh_heap **place)
{
	*place = calloc(1, sizeof **place);
	if (*place == NULL)
		return NULL;
	LIST_INIT(&(*place)->blocks);
	LIBSSH2_SESSION *session = libssh2_session_init_ex(take, give, change, place);
	if (session == NULL) {
		free(*place);
		*place = NULL;
	}
	return session;
}

void ssh_heap_free(LIBSSH2_SESSION *session)
{
	enum { TRIES = 100 };
	struct ssh_heap *heap = heap_of(libssh2_session_abstract(session));
	struct ssh_block *block;
	for (int i = 0; i < TRIES && libssh2_session_free(session) == LIBSSH2_ERROR_EAGAIN; i++)
		;
	while ((block = LIST_FIRST(&heap->blocks)) != NULL)
		give_block(heap, block);
	free(heap);
}

void *ssh_heap_take(LIBSSH2_SESSION *session, size_t bytes)
{
	return take(bytes, libssh2_session_abstract(session));
}
