// What ends the process inside llama.cpp ends it in one line and with an exit code of its own. Go's runtime would print a
// trace of all goroutines and exit with the code of bad arguments.
#include "bridge.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#ifndef _WIN32
#include <signal.h>
#include <unistd.h>
#endif

#include "ggml.h"

static void last_words(const char *why) {
#ifdef _WIN32
	fprintf(stderr, "realign: llama.cpp ended the process: %s\n", why);
	_exit(REALIGN_ABORTED);
#else
	char line[1200];
	int n = snprintf(line, sizeof line, "realign: llama.cpp ended the process: %s", why);
	if (n < 0 || n >= (int) sizeof line) {
		n = (int) sizeof line - 1;
	}
	for (int i = 0; i < n; i++) {
		if (line[i] == '\n' || line[i] == '\r') {
			line[i] = ' ';
		}
	}
	line[n++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, (size_t) n);
	(void) written; // there is nobody left to tell
	_exit(REALIGN_ABORTED);
#endif
}

// on_abort takes ggml's assertions: "/path/of/the/source/file.c:12: GGML_ASSERT(…) failed".
static void on_abort(const char *message) {
	const char *colon = strchr(message, ':'), *name = message;
	for (const char *at = message; colon != nullptr && at < colon; at++) {
		if (*at == '/' || *at == '\\') {
			name = at + 1;
		}
	}
	last_words(name);
}

// on_terminate takes exceptions of C++ that nobody caught.
[[noreturn]] static void on_terminate() {
	char why[600] = "an exception that is none of the standard library's";
	if (std::exception_ptr current = std::current_exception()) {
		try {
			std::rethrow_exception(current);
		} catch (const std::exception & e) {
			snprintf(why, sizeof why, "an exception that nobody caught: %s", e.what());
		} catch (...) {
		}
	}
	last_words(why);
	abort();
}

// inside counts the calls of this thread that are in llama.cpp. Its other threads are those without a signal stack, which Go
// gives to each of its own.
static thread_local int inside;

extern "C" void realign_enter(void) { inside++; }
extern "C" void realign_leave(void) { inside--; }

#ifndef _WIN32

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction before[NSIG];

static bool is_ours(void) {
	stack_t stack;
	return inside > 0 || (sigaltstack(nullptr, &stack) == 0 && (stack.ss_flags & SS_DISABLE));
}

static void on_signal(int signal, siginfo_t *info, void *context) {
	// A signal that another process sent is for Go.
	bool sent = info != nullptr && info->si_code <= 0 && info->si_pid != getpid();
	if (!sent && is_ours()) {
		switch (signal) {
		case SIGSEGV: last_words("SIGSEGV: an address outside its memory");
		case SIGBUS:  last_words("SIGBUS: an address that is not there, as in a file that became shorter");
		case SIGFPE:  last_words("SIGFPE: a division by zero");
		case SIGILL:  last_words("SIGILL: an instruction that this processor does not have");
		default:      last_words("SIGABRT");
		}
	}
	const struct sigaction *old = &before[signal];
	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(signal, info, context);
	} else if (old->sa_handler == SIG_DFL) {
		sigaction(signal, old, nullptr);
		raise(signal);
	} else if (old->sa_handler != SIG_IGN) {
		old->sa_handler(signal);
	}
}

static void take_signals(void) {
	for (int signal : signals) {
		struct sigaction action;
		memset(&action, 0, sizeof action);
		if (sigaction(signal, nullptr, &before[signal]) != 0) {
			continue;
		}
		action.sa_sigaction = on_signal;
		action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
		action.sa_mask = before[signal].sa_mask;
		sigaction(signal, &action, nullptr);
	}
}

#else

static void take_signals(void) {}

#endif

extern "C" void realign_guard(void) {
	ggml_set_abort_callback(on_abort);
	std::set_terminate(on_terminate);
	take_signals();
}

extern "C" int32_t realign_tokenize(const struct llama_vocab *vocab, const char *text, int32_t length, llama_token *tokens, int32_t most, bool special) {
	realign_enter();
	int32_t n = INT32_MIN;
	try {
		n = llama_tokenize(vocab, text, length, tokens, most, false, special);
	} catch (const std::exception &) {
	}
	realign_leave();
	return n;
}
